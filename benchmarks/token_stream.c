/* An Ollama that only writes: what a proxy is measured in front of.

   Prints the port it serves on loopback. POST /api/chat with {"messages": [{"content": "CHUNKS PAUSE"}]} is answered with
   so many pieces of a stream, PAUSE microseconds apart, each written by itself as Ollama writes them; the text of each is
   the monotonic clock, in nanoseconds, of when it was. Everything else is answered with no models. A thread for each
   connection. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { DIGITS = 19, REQUEST = 65536, STACK = 256 << 10, BACKLOG = 4096, SECOND = 1000000000 };

static const char MADE[] = "{\"model\":\"tiny\",\"created_at\":\"2026-11-22T22:24:42.683553952Z\",\"message\":";
static const char HEAD[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";
static const char NOTHING[] =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"models\":[]}";

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static void until(uint64_t when) {
  struct timespec time = {(time_t)(when / SECOND), (long)(when % SECOND)};
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL);
}

static int put(int fd, const char *data, size_t size) {
  while (size > 0) {
    ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
    if (sent <= 0) return 0;
    data += sent;
    size -= (size_t)sent;
  }
  return 1;
}

static int stream(int fd, long chunks, long pause) {
  char line[512], piece[600], last[1024];
  int size = snprintf(line, sizeof line, "%s{\"role\":\"assistant\",\"content\":\"%0*d\"},\"done\":false}\n", MADE, DIGITS, 0);
  int length = snprintf(piece, sizeof piece, "%x\r\n%s\r\n", (unsigned)size, line);
  char *text = strstr(piece, "\"content\":\"") + strlen("\"content\":\"");
  uint64_t due = now() + (pause > 0 ? (uint64_t)(random() % pause) * 1000 : 0);

  if (!put(fd, HEAD, sizeof HEAD - 1)) return 0;
  for (long number = 0; number < chunks; number++) {
    if (pause > 0) {
      until(due);
      due += (uint64_t)pause * 1000;
    }
    uint64_t value = now();
    for (int digit = DIGITS - 1; digit >= 0; digit--, value /= 10) text[digit] = (char)('0' + value % 10);
    if (!put(fd, piece, (size_t)length)) return 0;
  }
  size = snprintf(line, sizeof line,
                  "%s{\"role\":\"assistant\",\"content\":\"\"},\"done\":true,\"done_reason\":\"stop\",\"total_duration\":3000000,"
                  "\"load_duration\":1000000,\"prompt_eval_count\":7,\"prompt_eval_duration\":1000000,\"eval_count\":%ld,"
                  "\"eval_duration\":1000000}\n", MADE, chunks);
  length = snprintf(last, sizeof last, "%x\r\n%s\r\n0\r\n\r\n", (unsigned)size, line);
  return put(fd, last, (size_t)length);
}

/* One request: its size with the body, or 0 while it is not whole. */
static size_t whole(const char *request) {
  const char *end = strstr(request, "\r\n\r\n");
  if (end == NULL) return 0;
  const char *length = strcasestr(request, "\r\ncontent-length:");
  size_t size = (size_t)(end - request) + 4;
  if (length != NULL && length < end) size += strtoul(length + strlen("\r\ncontent-length:"), NULL, 10);
  return strlen(request) >= size ? size : 0;
}

static void *serve(void *given) {
  int fd = (int)(intptr_t)given, good = 1;
  static __thread char request[REQUEST];
  size_t have = 0;
  while (good && have < sizeof request - 1) {
    ssize_t got = recv(fd, request + have, sizeof request - 1 - have, 0);
    if (got <= 0) break;
    have += (size_t)got;
    request[have] = 0;
    for (size_t size; good && (size = whole(request)) > 0;) {
      long chunks = 0, pause = 0;
      const char *asked = strstr(request, "\"content\":\"");
      if (strncmp(request, "POST /api/chat ", 15) == 0 && asked != NULL &&
          sscanf(asked, "\"content\":\"%ld %ld", &chunks, &pause) == 2)
        good = stream(fd, chunks, pause);
      else
        good = put(fd, NOTHING, sizeof NOTHING - 1);
      have -= size;
      memmove(request, request + size, have + 1);
    }
  }
  close(fd);
  return NULL;
}

int main(void) {
  struct sockaddr_in where = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof where;
  int listening = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  pthread_attr_t small;
  signal(SIGPIPE, SIG_IGN);
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, STACK);
  pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
  if (bind(listening, (struct sockaddr *)&where, size) || listen(listening, BACKLOG)) return 1;
  getsockname(listening, (struct sockaddr *)&where, &size);
  printf("%d\n", ntohs(where.sin_port));
  fflush(stdout);
  for (;;) {
    pthread_t thread;
    int fd = accept(listening, NULL, NULL);
    if (fd < 0) continue;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (pthread_create(&thread, &small, serve, (void *)(intptr_t)fd)) close(fd);
  }
}
