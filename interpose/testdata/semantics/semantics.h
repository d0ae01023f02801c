// What the parts of the script share. Every case prints one line, its name and
// what came of it; nothing in a line may differ from one run to the next.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>

extern int threads; // the process has a second one, and so have its children

void waiting(void);
void events(void);
void pipes(void);
void paths(void);
void owners(void);
void roots(void);
void datagrams(void);
void vectors(void);
void rights(void);
void credentials(void);

// say prints the line of a case.
void say(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
// got is a call's result or the name of its error.
const char *got(long r);
// state prints a socket's error, name and peer.
void state(const char *name, int fd);
// sub is the name of a case of its own within another.
const char *sub(const char *name, const char *part);

void must(int ok, const char *what);
void grow(void);                    // the second thread, where there is to be one
void child(void (*f)(void));        // runs f in a process of its own, and waits for it
int until(int fd, short events);    // waits for them

int tcp(int flags);
int tcp_listener(int backlog, struct sockaddr_in *at); // on a port of its own
int local(int type);
socklen_t un(struct sockaddr_un *a, const char *path); // without the NUL
long bind_path(int fd, const char *path);
long connect_path(int fd, const char *path);
int bound(int type, const char *path); // also listens, where that is possible
void timeout(int fd, int ms);          // SO_SNDTIMEO
long long now(void);                   // milliseconds

// A message of one vector, and room for its control messages.
struct message {
	struct msghdr h;
	struct iovec v;
	_Alignas(struct cmsghdr) char control[4096];
};
struct msghdr *message(struct message *m, const void *data, size_t n);
void *control(struct message *m, int level, int type, const void *data, size_t n); // adds one
