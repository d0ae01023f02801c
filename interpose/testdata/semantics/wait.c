// Calls that wait: SO_SNDTIMEO, signals, readiness, SIGPIPE.
#include "semantics.h"
#include <netinet/tcp.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>

static char big[4 << 20];

// A blocked is a call that waits until relieve is called.
static struct blocked {
	const char *name;
	int fd;    // the call's socket
	int other; // the listener, or who receives
	struct sockaddr_storage at;
	socklen_t len;
	long (*call)(void);
	void (*relieve)(void); // async-signal-safe
} b;

static long do_connect(void) { return connect(b.fd, (void *)&b.at, b.len); }
static long do_sendto(void) { return sendto(b.fd, "late", 4, MSG_NOSIGNAL, (void *)&b.at, b.len); }
static long do_sendmsg(void) {
	struct message m;
	return sendmsg(b.fd, message(&m, "late", 4), MSG_NOSIGNAL);
}
static long do_sendmmsg(void) {
	struct message m;
	struct mmsghdr v[2] = {{*message(&m, "late", 4), 0}, {m.h, 0}};
	return sendmmsg(b.fd, v, 2, MSG_NOSIGNAL);
}
static void do_accept(void) { accept(b.other, NULL, NULL); }
static void do_drain(void) {
	char buf[65536];
	while (recv(b.other, buf, sizeof buf, MSG_DONTWAIT) > 0) {}
}

// full_unix is a connect to a listener that has as many as it takes.
static void full_unix(void) {
	struct sockaddr_un a;
	b = (struct blocked){.name = "unix connect", .call = do_connect, .relieve = do_accept};
	b.len = un(&a, "full");
	memcpy(&b.at, &a, sizeof a);
	unlink("full");
	b.other = local(SOCK_STREAM);
	must(bind_path(b.other, "full") == 0 && listen(b.other, 0) == 0, "full");
	for (;;) {
		int fd = local(SOCK_STREAM | SOCK_NONBLOCK);
		if (connect_path(fd, "full")) break;
	}
	must(errno == EAGAIN, "fill a backlog");
	b.fd = local(SOCK_STREAM);
}

static void full_tcp(void) {
	struct sockaddr_in a;
	b = (struct blocked){.name = "tcp connect", .call = do_connect, .relieve = do_accept, .len = sizeof a};
	b.other = tcp_listener(0, &a);
	memcpy(&b.at, &a, sizeof a);
	b.fd = tcp(0);
	must(do_connect() == 0, "fill a backlog"); // takes one more than it was told
	must(until(b.other, POLLIN), "a connection");
	b.fd = tcp(0);
}

// fill sends until there is no room, for good: a TCP may still move what it has.
static void fill(void) {
	static char chunk[1024];
	for (int full = 0; full < 20;) {
		if (send(b.fd, chunk, sizeof chunk, MSG_DONTWAIT | MSG_NOSIGNAL) > 0) {
			full = 0;
			continue;
		}
		must(errno == EAGAIN, "fill");
		full++;
		poll(NULL, 0, b.at.ss_family == AF_INET ? 10 : 0);
	}
}

static void full_pair(int type, const char *name, long (*call)(void)) {
	int pair[2];
	b = (struct blocked){.name = name, .call = call, .relieve = do_drain};
	must(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
	b.fd = pair[0], b.other = pair[1];
	fill();
}
static void full_stream(void) { full_pair(SOCK_STREAM, "unix stream sendmsg", do_sendmsg); }
static void full_packet(void) { full_pair(SOCK_SEQPACKET, "unix seqpacket sendmsg", do_sendmsg); }
static void full_packet_to(void) {
	full_pair(SOCK_SEQPACKET, "unix seqpacket sendto", do_sendto);
	b.at.ss_family = AF_UNIX; // which is ignored
	b.len = 5;
}
static void full_vector(void) { full_pair(SOCK_STREAM, "unix stream sendmmsg", do_sendmmsg); }

static void full_datagram(void) {
	struct sockaddr_un a;
	unlink("queue");
	b = (struct blocked){.name = "unix datagram sendto", .call = do_sendto, .relieve = do_drain};
	b.len = un(&a, "queue");
	memcpy(&b.at, &a, sizeof a);
	b.other = bound(SOCK_DGRAM, "queue");
	b.fd = local(SOCK_DGRAM);
	while (sendto(b.fd, "x", 1, MSG_DONTWAIT, (void *)&a, b.len) == 1) {}
	must(errno == EAGAIN, "fill a queue");
}

static void full_tcp_buffer(const char *name, long (*call)(void)) {
	struct sockaddr_in a;
	int l = tcp_listener(1, &a), size = 4096;
	b = (struct blocked){.name = name, .call = call, .relieve = do_drain, .len = sizeof a};
	memcpy(&b.at, &a, sizeof a); // which is ignored
	b.fd = tcp(0);
	setsockopt(b.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	setsockopt(l, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	must(do_connect() == 0 && (b.other = accept(l, NULL, NULL)) >= 0, "a connection");
	close(l);
	fill();
}
static void full_tcp_message(void) { full_tcp_buffer("tcp sendmsg", do_sendmsg); }
static void full_tcp_to(void) { full_tcp_buffer("tcp sendto", do_sendto); }

static void (*const full[])(void) = {full_unix, full_tcp, full_stream, full_packet, full_packet_to,
	full_vector, full_datagram, full_tcp_message, full_tcp_to};
enum { FULL = sizeof full / sizeof *full };

// Ticks come again and again, so that one comes while the call waits.
static volatile sig_atomic_t ticks;
static void (*at_last)(void);

static void tick(int sig) {
	(void)sig;
	if (++ticks == 5 && at_last) {
		int e = errno;
		at_last();
		errno = e;
	}
}

static void every(int ms) {
	struct itimerval it = {{ms / 1000, ms % 1000 * 1000}, {ms / 1000, ms % 1000 * 1000}};
	must(setitimer(ITIMER_REAL, &it, NULL) == 0, "setitimer");
}

static long ticking(int flags, void (*relieve)(void)) {
	struct sigaction sa = {.sa_handler = tick, .sa_flags = flags};
	sigaction(SIGALRM, &sa, NULL);
	ticks = 0, at_last = relieve;
	every(40);
	long r = b.call();
	int e = errno;
	every(0);
	errno = e;
	return r;
}

// late counts what came through to the other end: no message comes twice.
static int late(void) {
	static char buf[65536];
	int n = 0;
	for (ssize_t r; (r = recv(b.other, buf, sizeof buf, MSG_DONTWAIT)) > 0;)
		for (ssize_t i = 0; i < r; i++) n += buf[i] == 'l';
	return n;
}

static void finish(void) {
	close(b.fd);
	close(b.other);
}

static void one(void (*make)(void)) {
	char name[100];
	int connects;

	make();
	connects = b.call == do_connect;
	timeout(b.fd, 150);
	long long start = now();
	long r = b.call();
	snprintf(name, sizeof name, "%s, SO_SNDTIMEO", b.name);
	say(name, "%s, %s", got(r), now() - start >= 140 ? "after that time" : "too early");
	if (connects) state(name, b.fd);
	r = b.call();
	say(sub(name, "again"), "%s", got(r));
	if (connects && b.at.ss_family == AF_INET) {
		timeout(b.fd, 0);
		b.relieve();
		r = b.call();
		say(sub(name, "when there is room"), "%s", got(r));
		state(sub(name, "when there is room"), b.fd);
	}
	finish();

	make();
	snprintf(name, sizeof name, "%s, signal", b.name);
	r = ticking(0, NULL);
	say(name, "%s, %s", got(r), ticks ? "handled" : "not handled");
	if (connects) state(name, b.fd);
	b.relieve();
	r = b.call();
	say(sub(name, "again"), "%s", got(r));
	if (connects) state(sub(name, "again"), b.fd);
	else say(sub(name, "received"), "%d", late());
	finish();

	make();
	snprintf(name, sizeof name, "%s, signal, SA_RESTART", b.name);
	r = ticking(SA_RESTART, b.relieve);
	say(name, "%s, %s", got(r), ticks >= 5 ? "restarted" : "not restarted");
	if (connects) state(name, b.fd);
	else say(sub(name, "received"), "%d", late());
	finish();

	make();
	timeout(b.fd, 60000);
	snprintf(name, sizeof name, "%s, signal, SA_RESTART, SO_SNDTIMEO", b.name);
	r = ticking(SA_RESTART, b.relieve); // that it may end
	say(name, "%s, %s", got(r), ticks < 5 ? "not restarted" : "restarted");
	if (connects) state(name, b.fd);
	finish();

	if (!connects) {
		make();
		close(b.other);
		r = b.call();
		say(sub(b.name, "nobody there"), "%s", got(r));
		close(b.fd);
	}
}

// part sends more than there is room for.
static const char *part(long r) {
	return r < 0 ? strerrorname_np(errno) : r == 0 ? "nothing" : r < (long)sizeof big ? "a part" : "all";
}

static void partial(void) {
	struct message m;
	full_stream();
	do_drain();
	timeout(b.fd, 150);
	say("a large message, SO_SNDTIMEO", "%s", part(sendmsg(b.fd, message(&m, big, sizeof big), MSG_NOSIGNAL)));
	do_drain();
	say("a large message, MSG_DONTWAIT", "%s", part(sendmsg(b.fd, message(&m, big, sizeof big), MSG_NOSIGNAL | MSG_DONTWAIT)));
	do_drain();
	timeout(b.fd, 0);
	struct sigaction sa = {.sa_handler = tick, .sa_flags = SA_RESTART};
	sigaction(SIGALRM, &sa, NULL);
	at_last = NULL;
	every(40);
	long r = sendmsg(b.fd, message(&m, big, sizeof big), MSG_NOSIGNAL);
	every(0);
	say("a large message, signal, SA_RESTART", "%s", part(r));
	finish();

	full_stream();
	do_drain();
	for (size_t i = 0; i < sizeof big; i++) big[i] = i * 2654435761u >> 24;
	pid_t pid = fork();
	must(pid >= 0, "fork");
	if (pid == 0) {
		static char buf[10007];
		unsigned long n = 0, sum = 0;
		close(b.fd);
		for (ssize_t k; (k = recv(b.other, buf, sizeof buf, 0)) > 0; n += k)
			for (ssize_t i = 0; i < k; i++) sum = sum * 31 + (unsigned char)buf[i];
		say("a large message: received", "%lu bytes, sum %lx", n, sum);
		_exit(0);
	}
	struct iovec v[3] = {{big, 100}, {big + 100, 0}, {big + 100, sizeof big - 100}};
	message(&m, NULL, 0)->msg_iov = v;
	m.h.msg_iovlen = 3;
	r = sendmsg(b.fd, &m.h, MSG_NOSIGNAL);
	finish();
	waitpid(pid, NULL, 0);
	say("a large message", "%s", part(r));
}

// stopped: the default action of SIGSTOP and SIGCONT does not end a call.
static void stopped(void) {
	int pair[2];
	must(pipe(pair) == 0, "pipe");
	full_unix();
	pid_t pid = fork();
	must(pid >= 0, "fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		grow();
		write(pair[1], "r", 1);
		long r = b.call();
		say("unix connect, SIGSTOP and SIGCONT", "%s", got(r));
		_exit(0);
	}
	char c;
	int status;
	must(read(pair[0], &c, 1) == 1 && kill(pid, SIGSTOP) == 0 && waitpid(pid, &status, WUNTRACED) == pid, "SIGSTOP");
	kill(pid, SIGCONT);
	b.relieve();
	must(waitpid(pid, &status, 0) == pid && status == 0, "waitpid");
	close(pair[0]), close(pair[1]);
	finish();
}

void waiting(void) {
	for (int i = 0; i < FULL; i++) one(full[i]);
	partial();
	stopped();
}

// wait_events prints the next events of an epoll, or that there are none.
static void wait_events(const char *name, int ep, int ms) {
	struct epoll_event e = {0};
	int n = epoll_wait(ep, &e, 1, ms);
	say(name, "%d events %#x data %#x", n, n > 0 ? e.events : 0, n > 0 ? (unsigned)e.data.u32 : 0);
}

// settle waits until the event that is being seen to has woken everybody.
static void settle(int fd, short events) {
	struct tcp_info info;
	socklen_t n = sizeof info;
	must(until(fd, events), "an event");
	getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &n); // takes the socket's lock
}

static void watched(const char *how, unsigned mode, int flags, int refused) {
	char name[100];
	struct sockaddr_in a;
	int ep = epoll_create1(EPOLL_CLOEXEC), fd = tcp(flags), l = tcp_listener(10, &a);
	struct epoll_event e = {mode | EPOLLIN | EPOLLOUT | EPOLLRDHUP, {.u32 = 0x7e57}};
	if (refused) close(l);
	snprintf(name, sizeof name, "epoll, %s, %s, %s", mode ? "edge" : "level", how, refused ? "refused" : "accepted");
	must(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0, "epoll_ctl");
	wait_events(sub(name, "before"), ep, 0);
	wait_events(sub(name, "before, again"), ep, 0);
	long r = connect(fd, (void *)&a, sizeof a);
	say(name, "%s", got(r));
	settle(fd, POLLOUT);
	wait_events(sub(name, "first"), ep, 30000);
	wait_events(sub(name, "second"), ep, 0);
	state(name, fd);
	wait_events(sub(name, "after SO_ERROR"), ep, 0);
	r = connect(fd, (void *)&a, sizeof a);
	say(sub(name, "again"), "%s", got(r));
	if (refused) settle(fd, POLLOUT);
	wait_events(sub(name, "after connecting again"), ep, 0);
	if (!refused) {
		int other = accept(l, NULL, NULL);
		send(other, "x", 1, 0);
		settle(fd, POLLIN);
		wait_events(sub(name, "data"), ep, 30000);
		wait_events(sub(name, "data, again"), ep, 0);
		close(other);
		settle(fd, POLLRDHUP);
		wait_events(sub(name, "end"), ep, 30000);
		wait_events(sub(name, "end, again"), ep, 0);
		close(l);
	}
	close(fd), close(ep);
}

void events(void) {
	for (int i = 0; i < 8; i++)
		watched(i & 2 ? "blocking" : "non-blocking", i & 1 ? EPOLLET : 0, i & 2 ? 0 : SOCK_NONBLOCK, i & 4);

	// A local connection is there at once.
	int l = bound(SOCK_STREAM, "watched"), ep = epoll_create1(EPOLL_CLOEXEC), fd = local(SOCK_STREAM | SOCK_NONBLOCK);
	struct epoll_event e = {EPOLLET | EPOLLIN | EPOLLOUT | EPOLLRDHUP, {.u32 = 0x7e57}};
	must(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) == 0, "epoll_ctl");
	wait_events("epoll, edge, unix: before", ep, 0);
	long r = connect_path(fd, "watched");
	say("epoll, edge, unix", "%s", got(r));
	state("epoll, edge, unix", fd);
	wait_events("epoll, edge, unix: first", ep, 0);
	wait_events("epoll, edge, unix: second", ep, 0);
	close(l), close(fd), close(ep);
}

static volatile sig_atomic_t broken;
static void on_pipe(int sig) {
	(void)sig;
	broken++;
}

static int dead(int type) {
	int pair[2];
	must(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
	close(pair[1]);
	return pair[0];
}

static void sigpipe(const char *name, int flags, int type) {
	struct message m;
	struct sockaddr_in a;
	int l = tcp_listener(1, &a), fd = type ? dead(type) : tcp(0);
	struct mmsghdr v = {*message(&m, "x", 1), 0};
	broken = 0;
	long r = type ? 0 : sendto(fd, "x", 1, flags, (void *)&a, sizeof a);
	if (!type) say(sub(name, "sendto"), "%s, %d signals", got(r), broken);
	broken = 0;
	r = sendmsg(fd, &m.h, flags);
	say(sub(name, "sendmsg"), "%s, %d signals", got(r), broken);
	broken = 0;
	r = sendmmsg(fd, &v, 1, flags);
	say(sub(name, "sendmmsg"), "%s, %d signals", got(r), broken);
	close(l), close(fd);
}

void pipes(void) {
	static const struct { const char *name; int type; } kinds[] = {
		{"tcp unconnected", 0}, {"unix stream", SOCK_STREAM}, {"unix seqpacket", SOCK_SEQPACKET}};
	struct sigaction sa = {.sa_handler = on_pipe};
	struct message m;
	sigset_t set, pending;
	sigaction(SIGPIPE, &sa, NULL);
	for (int i = 0; i < 3; i++) {
		char name[100];
		snprintf(name, sizeof name, "SIGPIPE, %s", kinds[i].name);
		sigpipe(name, 0, kinds[i].type);
		snprintf(name, sizeof name, "SIGPIPE, %s, MSG_NOSIGNAL", kinds[i].name);
		sigpipe(name, MSG_NOSIGNAL, kinds[i].type);
	}
	int fd = dead(SOCK_STREAM);
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	broken = 0;
	long r = sendmsg(fd, message(&m, "x", 1), 0);
	const char *errno_name = got(r);
	sigpending(&pending);
	say("SIGPIPE blocked", "%s, %d signals, pending %d", errno_name, broken, sigismember(&pending, SIGPIPE));
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	say("SIGPIPE unblocked", "%d signals", broken);
	signal(SIGPIPE, SIG_IGN);
	r = sendmsg(fd, message(&m, "x", 1), 0);
	say("SIGPIPE ignored", "%s", got(r));
	signal(SIGPIPE, SIG_DFL);
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		grow();
		sendmsg(fd, message(&m, "x", 1), 0);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	say("SIGPIPE not handled", "%s", WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : "survived");
	close(fd);
}
