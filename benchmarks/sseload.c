/* sseload.c - opens server-sent event streams and times them: one thread, one epoll.
 *
 *   gcc -O2 -o sseload sseload.c
 *   ./sseload PORT CONCURRENCY TOTAL BODYFILE [HOLD_SECONDS] [MAX_SECONDS] [PATH]
 *
 * POSTs BODYFILE to 127.0.0.1:PORT/v1/chat/completions (or PATH), CONCURRENCY streams at a
 * time, each on a new connection, TOTAL in all, and prints one line of JSON.
 * With HOLD_SECONDS it opens CONCURRENCY streams, prints "ALLOPEN n errs n" once
 * each gave its first event, keeps them for that time, and ends.
 * SSEDEBUG in the environment shows what came on streams that failed.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_EVENTS 512
#define MAX_BODY (1 << 16)
#define MAX_OPENING 128 /* streams that wait for their first event at a time */

enum { RUNNING, WHOLE, BROKEN };

typedef struct {
  int fd, sent, matched, events;
  long begun;
  char tail[5];
} stream;

static int epoll_fd, port, request_length;
static char request[MAX_BODY + 1024];
static long events_seen, bytes, whole, broken, opened, first_events, opening;
static double *first_ms, *total_ms;

static long now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static int by_size(const void *a, const void *b) {
  double difference = *(const double *)a - *(const double *)b;
  return difference < 0 ? -1 : difference > 0;
}

static double percentile(const double *sorted, long count, double share) {
  return count ? sorted[(long)(share * (count - 1) + .5)] : -1;
}

static void prepare_request(const char *path, const char *asked) {
  static char body[MAX_BODY];
  FILE *file = fopen(path, "rb");
  if (!file) {
    perror(path);
    exit(2);
  }
  int length = fread(body, 1, sizeof body, file);
  fclose(file);
  request_length = sprintf(request,
                           "POST %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                           "Content-Type: application/json\r\n"
                           "Authorization: Bearer sk-bench-0123456789-0\r\n"
                           "Accept: text/event-stream\r\nContent-Length: %d\r\n\r\n",
                           asked, port, length);
  memcpy(request + request_length, body, length);
  request_length += length;
}

static void begin(stream *s) {
  int one = 1;
  memset(s, 0, sizeof *s);
  s->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  s->begun = now_us();
  connect(s->fd, (void *)&address, sizeof address);
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = s};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, s->fd, &e);
  opened++;
  opening++;
}

static void count_event(stream *s) {
  events_seen++;
  if (s->events++) return;
  opening--;
  first_ms[first_events++] = (now_us() - s->begun) / 1000.0;
}

/* Look for "data:" across reads. */
static void count_events(stream *s, const char *data, int length) {
  static const char pattern[] = "data:";
  for (int i = 0; i < length; i++) {
    if (data[i] == pattern[s->matched]) {
      if (++s->matched == 5) {
        s->matched = 0;
        count_event(s);
      }
    } else {
      s->matched = data[i] == 'd';
    }
  }
}

/* Whether the last chunk of the body has come. */
static int ended(stream *s, const char *data, int length) {
  if (length >= 5) {
    memcpy(s->tail, data + length - 5, 5);
  } else {
    memmove(s->tail, s->tail + length, 5 - length);
    memcpy(s->tail + 5 - length, data, length);
  }
  return !memcmp(s->tail, "0\r\n\r\n", 5);
}

static int receive(stream *s) {
  static char data[1 << 18];
  int length = recv(s->fd, data, sizeof data - 1, 0);
  if (length < 0 && errno == EAGAIN) return RUNNING;
  if (length <= 0) return BROKEN;
  bytes += length;
  count_events(s, data, length);
  if (!ended(s, data, length)) return RUNNING;
  if (s->events) return WHOLE;
  data[length] = 0;
  if (getenv("SSEDEBUG")) fprintf(stderr, "no event came:\n%.600s\n", data);
  return BROKEN;
}

static int advance(stream *s, unsigned ready) {
  if (!s->sent && ready & EPOLLOUT) {
    if (send(s->fd, request, request_length, MSG_NOSIGNAL) != request_length) return BROKEN;
    s->sent = 1;
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = s};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, s->fd, &e);
  }
  return ready & (EPOLLIN | EPOLLHUP | EPOLLERR) ? receive(s) : RUNNING;
}

static void finish(stream *s, int state) {
  close(s->fd);
  if (!s->events) opening--;
  if (state == WHOLE)
    total_ms[whole++] = (now_us() - s->begun) / 1000.0;
  else
    broken++;
}

static void report(double elapsed) {
  qsort(first_ms, first_events, sizeof *first_ms, by_size);
  qsort(total_ms, whole, sizeof *total_ms, by_size);
  printf("{\"streams\":%ld,\"errors\":%ld,\"events\":%ld,\"bytes\":%ld,\"elapsed\":%.3f,"
         "\"events_per_s\":%.1f,\"ttfb_p50_ms\":%.3f,\"ttfb_p99_ms\":%.3f,"
         "\"total_p50_ms\":%.2f,\"total_p99_ms\":%.2f}\n",
         whole, broken, events_seen, bytes, elapsed, events_seen / elapsed,
         percentile(first_ms, first_events, .5), percentile(first_ms, first_events, .99),
         percentile(total_ms, whole, .5), percentile(total_ms, whole, .99));
}

int main(int count, char **arguments) {
  if (count < 5) {
    fprintf(stderr, "sseload PORT CONCURRENCY TOTAL BODYFILE [HOLD_SECONDS] [MAX_SECONDS] [PATH]\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  port = atoi(arguments[1]);
  long concurrency = atol(arguments[2]), total = atol(arguments[3]);
  double hold = count > 5 ? atof(arguments[5]) : 0, limit = count > 6 ? atof(arguments[6]) : 60;
  if (hold > 0) total = concurrency;
  prepare_request(arguments[4], count > 7 ? arguments[7] : "/v1/chat/completions");
  first_ms = malloc(sizeof *first_ms * (total + concurrency + 1));
  total_ms = malloc(sizeof *total_ms * (total + concurrency + 1));
  stream *streams = calloc(concurrency, sizeof *streams);
  epoll_fd = epoll_create1(0);
  struct epoll_event ready[MAX_EVENTS];
  long started = now_us(), held_until = 0, places = 0;
  while (whole + broken < total) {
    while (places < concurrency && opened < total && opening < MAX_OPENING)
      begin(&streams[places++]);
    long now = now_us();
    if (now - started > limit * 1e6 || (held_until && now > held_until)) break;
    int n = epoll_wait(epoll_fd, ready, MAX_EVENTS, 100);
    for (int i = 0; i < n; i++) {
      stream *s = ready[i].data.ptr;
      int state = advance(s, ready[i].events);
      if (state == RUNNING) continue;
      finish(s, state);
      if (opened < total && !hold) begin(s);
    }
    if (hold > 0 && !held_until && first_events + broken >= concurrency) {
      printf("ALLOPEN %ld errs %ld\n", first_events, broken);
      fflush(stdout);
      held_until = now_us() + hold * 1e6;
    }
  }
  report((now_us() - started) / 1e6);
  return 0;
}
