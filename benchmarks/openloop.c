/* openloop.c - asks at a steady rate, whether answers come or not: one thread, one epoll.
 *
 *   gcc -O2 -o openloop openloop.c -lm
 *   ./openloop PORT CONNECTIONS RATE SECONDS BODYFILE
 *
 * POSTs BODYFILE to 127.0.0.1:PORT/v1/chat/completions over at most CONNECTIONS
 * connections, RATE times a second on average for SECONDS, at moments that do not
 * depend on each other (exponential gaps, the same in each run), and prints one line
 * of JSON.  Latency counts from the moment at which a request was to be sent: one that
 * had to wait for a free connection, or for this program, is not flattered by that.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define MAX_EVENTS 512
#define MAX_BODY (1 << 16)
#define MAX_ANSWER (1 << 18)
#define PATIENCE_NS 5000000000L /* for answers after the last request */

typedef struct {
  int fd, length;
  long intended; /* when its request was to be sent; 0 if it is free */
  char *answer;
} connection;

static int epoll_fd, timer_fd, port, request_length, free_count;
static char request[MAX_BODY + 1024];
static connection **free_ones;
static long *due, made, next_due, next_sent, whole, broken;
static double *latency_ms;

static long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000L + t.tv_nsec;
}

static int by_size(const void *a, const void *b) {
  double difference = *(const double *)a - *(const double *)b;
  return difference < 0 ? -1 : difference > 0;
}

static double percentile(double share) {
  return whole ? latency_ms[(long)(share * (whole - 1) + .5)] : -1;
}

static void prepare_request(const char *path) {
  static char body[MAX_BODY];
  FILE *file = fopen(path, "rb");
  if (!file) {
    perror(path);
    exit(2);
  }
  int length = fread(body, 1, sizeof body, file);
  fclose(file);
  request_length = sprintf(request,
                           "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                           "Content-Type: application/json\r\n"
                           "Authorization: Bearer sk-bench-0123456789-0\r\n"
                           "Content-Length: %d\r\n\r\n",
                           port, length);
  memcpy(request + request_length, body, length);
  request_length += length;
}

/* Moments that do not depend on each other, as far as they go. */
static void plan(double rate, double seconds) {
  long room = rate * seconds * 1.5 + 1000;
  due = malloc(sizeof *due * room);
  latency_ms = malloc(sizeof *latency_ms * room);
  unsigned long state = 88172645463325252UL;
  double at = 0;
  while (made < room) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    at += -log(((state >> 11) + 1) / 9007199254740993.0) / rate;
    if (at >= seconds) break;
    due[made++] = at * 1e9;
  }
}

static void dial(connection *c) {
  int one = 1;
  c->fd = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (connect(c->fd, (void *)&address, sizeof address)) {
    perror("openloop: cannot connect");
    exit(1);
  }
  setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &e);
}

static void release(connection *c) {
  c->intended = 0;
  c->length = 0;
  free_ones[free_count++] = c;
}

static void hang_up(connection *c) {
  if (c->intended) broken++;
  close(c->fd);
  dial(c);
  if (c->intended) release(c);
}

/* Send what is due while there are connections for it. */
static void send_due(void) {
  while (next_sent < next_due && free_count) {
    connection *c = free_ones[--free_count];
    c->intended = due[next_sent++];
    if (send(c->fd, request, request_length, MSG_NOSIGNAL) != request_length) hang_up(c);
  }
}

static void wake_at(long when) {
  struct itimerspec t = {.it_value = {when / 1000000000L, when % 1000000000L}};
  timerfd_settime(timer_fd, TFD_TIMER_ABSTIME, &t, NULL);
}

/* The length of a whole answer, 0 while it is not known, -1 if it is not a good one. */
static long expected(connection *c) {
  char *end = memmem(c->answer, c->length, "\r\n\r\n", 4);
  if (!end) return 0;
  if (strncmp(c->answer, "HTTP/1.1 200", 12)) return -1;
  *end = 0;
  char *value = strcasestr(c->answer, "\r\ncontent-length:");
  *end = '\r';
  return value ? end + 4 - c->answer + atol(value + 17) : -1;
}

static void receive(connection *c) {
  int got = recv(c->fd, c->answer + c->length, MAX_ANSWER - c->length, MSG_DONTWAIT);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    hang_up(c);
    return;
  }
  c->length += got;
  long length = expected(c);
  if (length < 0 || c->length == MAX_ANSWER) {
    hang_up(c);
  } else if (length && c->length >= length) {
    if (c->intended) latency_ms[whole++] = (now_ns() - c->intended) / 1e6;
    release(c);
  }
}

static void report(double seconds, long late) {
  qsort(latency_ms, whole, sizeof *latency_ms, by_size);
  printf("{\"requests\":%ld,\"errors\":%ld,\"seconds\":%.3f,\"p50_ms\":%.3f,\"p90_ms\":%.3f,"
         "\"p99_ms\":%.3f,\"max_ms\":%.3f,\"waited\":%ld}\n",
         whole, made - whole, seconds, percentile(.5), percentile(.9),
         percentile(.99), percentile(1), late);
}

int main(int count, char **arguments) {
  if (count != 6) {
    fprintf(stderr, "openloop PORT CONNECTIONS RATE SECONDS BODYFILE\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  prctl(PR_SET_TIMERSLACK, 1000);
  port = atoi(arguments[1]);
  int connections = atoi(arguments[2]);
  double seconds = atof(arguments[4]);
  prepare_request(arguments[5]);
  plan(atof(arguments[3]), seconds);
  epoll_fd = epoll_create1(0);
  timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
  struct epoll_event e = {.events = EPOLLIN}, ready[MAX_EVENTS];
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &e);
  free_ones = calloc(connections, sizeof *free_ones);
  connection *all = calloc(connections, sizeof *all);
  for (int i = 0; i < connections; i++) {
    all[i].answer = malloc(MAX_ANSWER);
    dial(&all[i]);
    release(&all[i]);
  }
  long started = now_ns() + 1000000, waited = 0;
  for (long i = 0; i < made; i++) due[i] += started;
  long end = made ? due[made - 1] + PATIENCE_NS : started;
  while (whole + broken < made && now_ns() < end) {
    wake_at(next_due < made ? due[next_due] : end);
    int n = epoll_wait(epoll_fd, ready, MAX_EVENTS, 1000);
    for (int i = 0; i < n; i++) {
      unsigned long ticks;
      if (ready[i].data.ptr)
        receive(ready[i].data.ptr);
      else if (read(timer_fd, &ticks, sizeof ticks) < 0 && errno != EAGAIN)
        return 1;
    }
    for (long now = now_ns(); next_due < made && due[next_due] <= now;) next_due++;
    send_due();
    if (next_due - next_sent > waited) waited = next_due - next_sent;
  }
  report((now_ns() - started) / 1e9, waited);
  return 0;
}
