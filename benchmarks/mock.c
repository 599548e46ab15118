/* mock.c - a very fast mock of an OpenAI-compatible backend: one thread, one epoll.
 *
 *   gcc -O2 -o mock mock.c && ./mock PORT [BACKLOG]        (127.0.0.1 only)
 *
 *   POST any path   a chat.completion of about 1 KB
 *   the same with "stream": true in the body: server-sent events, chunked
 *   GET /stats      {"requests":N,"streams":N,"events":N,"accepted":N,"open":N}
 *   GET any path    {"ok":true}
 *
 * The model name in the body chooses the behaviour, as in "mock-c100-d20-t50":
 *   -cN    N chunks (100)
 *   -dN    N ms between chunks (0: as fast as the socket takes them)
 *   -tN    N ms before the first byte (0)
 *   -h     hold: one chunk, then silence until the peer closes
 *   -eNNN  answer with that HTTP status and an OpenAI error body
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
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_EVENTS 512
#define MAX_CHUNKED_BODY (1 << 20)

typedef struct {
  int fd;
  char *in; /* what was received and not yet answered */
  int in_length, in_capacity;
  char *out; /* what the socket would not take yet */
  int out_length, out_offset, out_capacity;
  int wants_out;

  /* An answer that is not finished: */
  int place;            /* its index in active[], or -1 when there is none */
  int plain;            /* a delayed answer that is no stream */
  int head_sent, hold;
  long chunks_left, pause_us, due_us;
} connection;

typedef struct {
  long chunks, pause_ms, wait_ms, status;
  int hold, stream;
} behaviour;

static int epoll_fd;
static connection **active;
static int active_count, active_capacity;
static long requests, streams, events_sent, accepted, open_now;

static char answer[4096], chunk[512], ending[512];
static int answer_length, chunk_length, ending_length;

static const char stream_head[] =
    "HTTP/1.1 200 OK\r\n"
    "Content-Type: text/event-stream\r\n"
    "Cache-Control: no-cache\r\n"
    "Transfer-Encoding: chunked\r\n\r\n";

/* Prepared answers --------------------------------------------------------- */

#define CHUNK_START                                                                      \
  "data: {\"id\":\"chatcmpl-mock0123456789abcdef\",\"object\":\"chat.completion.chunk\"," \
  "\"created\":1700000000,\"model\":\"mock\",\"choices\":[{\"index\":0,"

static int frame_chunk(char *into, const char *payload) {
  return sprintf(into, "%zx\r\n%s\r\n", strlen(payload), payload);
}

static void prepare_answers(void) {
  char text[601], body[2048];
  for (int i = 0; i < 600; i++) text[i] = i % 6 == 5 ? ' ' : 'a';
  text[600] = 0;
  int length = sprintf(
      body,
      "{\"id\":\"chatcmpl-mock0123456789abcdef\",\"object\":\"chat.completion\","
      "\"created\":1700000000,\"model\":\"mock\",\"system_fingerprint\":\"fp_mock\","
      "\"service_tier\":\"default\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","
      "\"content\":\"%s\",\"refusal\":null,\"annotations\":[]},\"logprobs\":null,"
      "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":200,\"completion_tokens\":100,"
      "\"total_tokens\":300,\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
      "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0}}}",
      text);
  answer_length = sprintf(answer,
                          "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
                          "x-request-id: req_mock\r\nContent-Length: %d\r\n\r\n%s",
                          length, body);
  chunk_length = frame_chunk(
      chunk, CHUNK_START "\"delta\":{\"content\":\"tokens tokens \"},\"finish_reason\":null}]}\n\n");
  ending_length =
      frame_chunk(ending, CHUNK_START "\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n");
  ending_length += frame_chunk(ending + ending_length, "data: [DONE]\n\n");
  ending_length += sprintf(ending + ending_length, "0\r\n\r\n");
}

/* Connections -------------------------------------------------------------- */

static long now_us(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000L + t.tv_nsec / 1000;
}

static void activate(connection *c) {
  if (active_count == active_capacity) {
    active_capacity = active_capacity ? active_capacity * 2 : 256;
    active = realloc(active, active_capacity * sizeof *active);
  }
  c->place = active_count;
  active[active_count++] = c;
}

static void deactivate(connection *c) {
  if (c->place < 0) return;
  connection *last = active[--active_count];
  active[c->place] = last;
  last->place = c->place;
  c->place = -1;
}

static void hang_up(connection *c) {
  deactivate(c);
  close(c->fd);
  free(c->in);
  free(c->out);
  free(c);
  open_now--;
}

static void want_out(connection *c, int wanted) {
  if (c->wants_out == wanted) return;
  c->wants_out = wanted;
  struct epoll_event e = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = c};
  epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &e);
}

/* The functions from here on return -1 when the connection has died. */

static int write_out(connection *c, const char *data, int length) {
  if (c->out_length == c->out_offset) {
    int sent = send(c->fd, data, length, MSG_NOSIGNAL);
    if (sent == length) return 0;
    if (sent < 0) {
      if (errno != EAGAIN) return -1;
      sent = 0;
    }
    data += sent;
    length -= sent;
    c->out_length = c->out_offset = 0;
  }
  if (c->out_length + length > c->out_capacity) {
    c->out_capacity = (c->out_length + length) * 2;
    c->out = realloc(c->out, c->out_capacity);
  }
  memcpy(c->out + c->out_length, data, length);
  c->out_length += length;
  want_out(c, 1);
  return 0;
}

static int flush_out(connection *c) {
  while (c->out_offset < c->out_length) {
    int sent = send(c->fd, c->out + c->out_offset, c->out_length - c->out_offset, MSG_NOSIGNAL);
    if (sent < 0) return errno == EAGAIN ? 0 : -1;
    c->out_offset += sent;
  }
  c->out_length = c->out_offset = 0;
  want_out(c, 0);
  return 0;
}

static int write_json(connection *c, long status, const char *body) {
  char response[1024];
  int length = sprintf(response,
                       "HTTP/1.1 %ld %s\r\nContent-Type: application/json\r\n"
                       "Content-Length: %zu\r\n\r\n%s",
                       status, status == 200 ? "OK" : "Mock", strlen(body), body);
  return write_out(c, response, length);
}

/* Send what is due of an unfinished answer. */
static int step(connection *c, long now) {
  if (c->plain) {
    deactivate(c);
    return write_out(c, answer, answer_length);
  }
  if (!c->head_sent) {
    if (write_out(c, stream_head, sizeof stream_head - 1) < 0) return -1;
    c->head_sent = 1;
  }
  if (c->chunks_left > 0) {
    if (write_out(c, chunk, chunk_length) < 0) return -1;
    c->chunks_left--;
    events_sent++;
    if (c->hold) {
      deactivate(c);
      return 0;
    }
    c->due_us += c->pause_us;
    if (c->pause_us && c->due_us < now) c->due_us = now + c->pause_us;
  }
  if (c->chunks_left > 0) return 0;
  deactivate(c);
  events_sent += 2;
  return write_out(c, ending, ending_length);
}

/* Requests ----------------------------------------------------------------- */

static const char *find_member(const char *body, long length, const char *quoted) {
  const char *at = memmem(body, length, quoted, strlen(quoted));
  return at ? at + strlen(quoted) : NULL;
}

static behaviour read_behaviour(const char *body, long length) {
  behaviour b = {.chunks = 100};
  const char *end = body + length;
  const char *model = find_member(body, length, "\"model\"");
  if (model) {
    while (model < end && *model != '"') model++;
    const char *close = ++model < end ? memchr(model, '"', end - model) : NULL;
    for (const char *p = model; close && p < close - 1; p++) {
      if (*p != '-') continue;
      long value = atol(p + 2);
      switch (p[1]) {
        case 'c': b.chunks = value; break;
        case 'd': b.pause_ms = value; break;
        case 't': b.wait_ms = value; break;
        case 'e': b.status = value; break;
        case 'h': b.hold |= p + 2 == close || p[2] == '-'; break;
      }
    }
  }
  const char *stream = find_member(body, length, "\"stream\"");
  if (stream) {
    while (stream < end && (*stream == ' ' || *stream == ':')) stream++;
    b.stream = end - stream >= 4 && !strncmp(stream, "true", 4);
  }
  return b;
}

static int respond(connection *c, const char *head, const char *body, long length) {
  if (!strncmp(head, "GET /stats", 10)) {
    char stats[300];
    sprintf(stats,
            "{\"requests\":%ld,\"streams\":%ld,\"events\":%ld,\"accepted\":%ld,\"open\":%ld}",
            requests, streams, events_sent, accepted, open_now);
    return write_json(c, 200, stats);
  }
  if (strncmp(head, "POST", 4)) return write_json(c, 200, "{\"ok\":true}");
  requests++;
  behaviour b = read_behaviour(body, length);
  if (b.status)
    return write_json(c, b.status,
                      "{\"error\":{\"message\":\"mock error\",\"type\":\"server_error\","
                      "\"param\":null,\"code\":\"mock\"}}");
  if (!b.stream && !b.wait_ms) return write_out(c, answer, answer_length);
  long now = now_us();
  streams += b.stream;
  c->plain = !b.stream;
  c->head_sent = 0;
  c->hold = b.hold;
  c->chunks_left = b.hold ? 1 : b.chunks;
  c->pause_us = b.pause_ms * 1000;
  c->due_us = now + b.wait_ms * 1000;
  activate(c);
  return b.wait_ms ? 0 : step(c, now);
}

static const char *find_header(const char *head, const char *end, const char *name) {
  int length = strlen(name);
  for (const char *line = head; line < end;) {
    if (!strncasecmp(line, name, length)) {
      line += length;
      while (*line == ' ') line++;
      return line;
    }
    line = memchr(line, '\n', end - line);
    if (!line++) break;
  }
  return NULL;
}

/* Join a chunked body; its end in the input, or NULL while it is not whole. */
static char *join_chunks(char *at, char *end, char *into, long *length) {
  for (*length = 0;;) {
    char *data = memmem(at, end - at, "\r\n", 2);
    if (!data) return NULL;
    long size = strtol(at, NULL, 16);
    data += 2;
    if (data + size + 2 > end) return NULL;
    if (*length + size < MAX_CHUNKED_BODY) {
      memcpy(into + *length, data, size);
      *length += size;
    }
    at = data + size + 2;
    if (!size) return at;
  }
}

/* Answer all requests that are whole, one after the other. */
static int serve(connection *c) {
  static char joined[MAX_CHUNKED_BODY];
  while (c->in_length && c->place < 0) {
    char *end = c->in + c->in_length, *body = memmem(c->in, c->in_length, "\r\n\r\n", 4);
    if (!body) return 0;
    body += 4;
    char *used = body;
    long length = 0;
    const char *value;
    if ((value = find_header(c->in, body, "content-length:"))) {
      length = atol(value);
      used = body + length;
      if (used > end) return 0;
    } else if ((value = find_header(c->in, body, "transfer-encoding:")) &&
               !strncasecmp(value, "chunked", 7)) {
      used = join_chunks(body, end, joined, &length);
      if (!used) return 0;
      body = joined;
    }
    if (respond(c, c->in, body, length) < 0) return -1;
    c->in_length = end - used;
    memmove(c->in, used, c->in_length);
  }
  return 0;
}

static int receive(connection *c) {
  for (;;) {
    if (c->in_length + 2048 > c->in_capacity) {
      c->in_capacity *= 2;
      c->in = realloc(c->in, c->in_capacity);
    }
    int room = c->in_capacity - c->in_length - 1;
    int got = recv(c->fd, c->in + c->in_length, room, 0);
    if (got == 0) return -1;
    if (got < 0) {
      if (errno != EAGAIN) return -1;
      break;
    }
    c->in_length += got;
    if (got < room) break;
  }
  c->in[c->in_length] = 0;
  return serve(c);
}

/* The loop ----------------------------------------------------------------- */

static int listen_on(int port, int backlog) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), one = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons(port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (bind(fd, (void *)&address, sizeof address) || listen(fd, backlog)) {
    perror("mock: cannot listen");
    exit(1);
  }
  struct epoll_event e = {.events = EPOLLIN};
  epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
  return fd;
}

static void accept_all(int listener) {
  int fd, one = 1;
  while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    connection *c = calloc(1, sizeof *c);
    c->fd = fd;
    c->place = -1;
    c->in_capacity = 4096;
    c->in = malloc(c->in_capacity);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &e);
    accepted++;
    open_now++;
  }
}

/* How long epoll may sleep until the next chunk is due, in ms. */
static int patience(void) {
  long now = now_us(), next = -1;
  for (int i = 0; i < active_count; i++) {
    connection *c = active[i];
    if (!c->wants_out && (next < 0 || c->due_us < next)) next = c->due_us;
  }
  if (next < 0) return -1;
  return next <= now ? 0 : (int)((next - now + 999) / 1000);
}

static void step_all(void) {
  long now = now_us();
  for (int i = active_count - 1; i >= 0; i--) {
    if (i >= active_count) continue; /* the list shrank meanwhile */
    connection *c = active[i];
    if (c->wants_out || c->due_us > now) continue;
    if (step(c, now) < 0 || serve(c) < 0) hang_up(c);
  }
}

int main(int count, char **arguments) {
  signal(SIGPIPE, SIG_IGN);
  prepare_answers();
  epoll_fd = epoll_create1(0);
  int port = count > 1 ? atoi(arguments[1]) : 9100;
  int listener = listen_on(port, count > 2 ? atoi(arguments[2]) : 4096);
  struct epoll_event events[MAX_EVENTS];
  for (;;) {
    int ready = epoll_wait(epoll_fd, events, MAX_EVENTS, active_count ? patience() : -1);
    for (int i = 0; i < ready; i++) {
      connection *c = events[i].data.ptr;
      if (!c) {
        accept_all(listener);
        continue;
      }
      int dead = 0;
      if (events[i].events & EPOLLOUT) dead = flush_out(c) < 0;
      if (!dead && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) dead = receive(c) < 0;
      if (dead) hang_up(c);
    }
    step_all();
  }
}
