// Control messages, vectors of messages, descriptors and credentials.
#include "semantics.h"
#include <linux/kcmp.h>
#include <netinet/udp.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static void on(int fd, int level, int option) {
	int one = 1;
	must(setsockopt(fd, level, option, &one, sizeof one) == 0, "setsockopt");
}

// receive prints the next datagram, with all that came along.
static void receive(const char *name, int fd) {
	static char data[65536];
	struct message m;
	struct sockaddr_storage from = {0};
	char line[1000], ip[INET6_ADDRSTRLEN];
	message(&m, data, sizeof data);
	m.h.msg_control = m.control, m.h.msg_controllen = sizeof m.control;
	m.h.msg_name = &from, m.h.msg_namelen = sizeof from;
	if (!until(fd, POLLIN)) {
		say(name, "nothing came");
		return;
	}
	ssize_t r = recvmsg(fd, &m.h, 0);
	int at = snprintf(line, sizeof line, "%s bytes", got(r));
	struct sockaddr_in *f4 = (void *)&from;
	if (from.ss_family == AF_INET) at += snprintf(line + at, sizeof line - at, ", from %s", inet_ntop(AF_INET, &f4->sin_addr, ip, sizeof ip));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m.h); c; c = CMSG_NXTHDR(&m.h, c)) {
		int v = c->cmsg_len == CMSG_LEN(1) ? *CMSG_DATA(c) : *(int *)CMSG_DATA(c);
		struct in_pktinfo *p = (void *)CMSG_DATA(c);
		if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO)
			at += snprintf(line + at, sizeof line - at, ", to %s", inet_ntop(AF_INET, &p->ipi_addr, ip, sizeof ip));
		else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO)
			at += snprintf(line + at, sizeof line - at, ", to %s", inet_ntop(AF_INET6, CMSG_DATA(c), ip, sizeof ip));
		else
			at += snprintf(line + at, sizeof line - at, ", level %d type %d: %#x", c->cmsg_level, c->cmsg_type, v);
	}
	say(name, "%s", line);
}

static void with(const char *name, int fd, struct message *m, int to, int segments) {
	long r = sendmsg(fd, &m->h, MSG_NOSIGNAL);
	say(name, "%s", got(r));
	for (int i = 1; r >= 0 && i <= segments; i++) {
		char part[100];
		snprintf(part, sizeof part, "%s: received %d", name, i);
		receive(part, to);
	}
}

static void family(int domain, struct sockaddr *at, socklen_t len) {
	static char data[65000];
	int to = socket(domain, SOCK_DGRAM | SOCK_CLOEXEC, 0), fd = socket(domain, SOCK_DGRAM | SOCK_CLOEXEC, 0), six = domain == AF_INET6;
	int level = six ? IPPROTO_IPV6 : IPPROTO_IP, tos = six ? IPV6_TCLASS : IP_TOS, ttl = six ? IPV6_HOPLIMIT : IP_TTL;
	must(bind(to, at, len) == 0 && getsockname(to, at, &len) == 0, "a receiver");
	on(to, level, six ? IPV6_RECVTCLASS : IP_RECVTOS);
	on(to, level, six ? IPV6_RECVHOPLIMIT : IP_RECVTTL);
	on(to, level, six ? IPV6_RECVPKTINFO : IP_PKTINFO);
	struct message m;
	char name[100];
	const char *v = six ? "IPv6" : "IPv4";
	for (int connected = 0; connected < 2; connected++) {
#define NAMED(n, what) (message(&m, data, n), m.h.msg_name = connected ? NULL : at, m.h.msg_namelen = connected ? 0 : len, \
		snprintf(name, sizeof name, "%s, %s%s", v, what, connected ? ", connected" : ""), name)
		NAMED(10, "plain");
		with(name, fd, &m, to, 1);
		for (int ecn = 0; ecn < 4; ecn++) {
			char what[20];
			snprintf(what, sizeof what, "ECN %d", ecn);
			NAMED(10, what);
			control(&m, level, tos, &(int){0x28 | ecn}, sizeof(int));
			with(name, fd, &m, to, 1);
		}
		NAMED(10, "one byte of TOS");
		control(&m, level, tos, "\x02", 1);
		with(name, fd, &m, to, 1);
		NAMED(10, "TOS out of range");
		control(&m, level, tos, &(int){0x1234}, sizeof(int));
		with(name, fd, &m, to, 1);
		NAMED(10, "TTL");
		control(&m, level, ttl, &(int){7}, sizeof(int));
		with(name, fd, &m, to, 1);
		NAMED(10, "TTL out of range");
		control(&m, level, ttl, &(int){700}, sizeof(int));
		with(name, fd, &m, to, 1);
		NAMED(1300, "GSO");
		control(&m, SOL_UDP, UDP_SEGMENT, &(uint16_t){500}, 2);
		with(name, fd, &m, to, 3);
		NAMED(500, "GSO of one");
		control(&m, SOL_UDP, UDP_SEGMENT, &(uint16_t){500}, 2);
		with(name, fd, &m, to, 1);
		NAMED(1000, "GSO of four bytes");
		control(&m, SOL_UDP, UDP_SEGMENT, &(int){500}, 4);
		with(name, fd, &m, to, 2);
		NAMED(65000, "GSO of too many");
		control(&m, SOL_UDP, UDP_SEGMENT, &(uint16_t){10}, 2);
		with(name, fd, &m, to, 1);
		NAMED(1300, "GSO with ECN");
		control(&m, level, tos, &(int){2}, sizeof(int));
		control(&m, SOL_UDP, UDP_SEGMENT, &(uint16_t){700}, 2);
		with(name, fd, &m, to, 2);
		NAMED(10, "source");
		if (six) {
			struct in6_pktinfo p = {.ipi6_addr = IN6ADDR_LOOPBACK_INIT};
			control(&m, level, IPV6_PKTINFO, &p, sizeof p);
		} else {
			struct in_pktinfo p = {.ipi_spec_dst.s_addr = htonl(0x7f000002)};
			control(&m, level, IP_PKTINFO, &p, sizeof p);
		}
		with(name, fd, &m, to, 1);
		NAMED(10, "source of another");
		if (six) {
			struct in6_pktinfo p = {.ipi6_addr.s6_addr = {0x20, 1, 0xd, 0xb8, 1}};
			control(&m, level, IPV6_PKTINFO, &p, sizeof p);
		} else {
			struct in_pktinfo p = {.ipi_spec_dst.s_addr = htonl(0xc0000201)};
			control(&m, level, IP_PKTINFO, &p, sizeof p);
		}
		with(name, fd, &m, to, 1);
		must(connect(fd, at, len) == 0, "connect");
		if (!connected) state(v, fd);
	}
	close(fd), close(to);
}

void datagrams(void) {
	struct sockaddr_in four = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	family(AF_INET, (void *)&four, sizeof four);
	family(AF_INET6, (void *)&six, sizeof six);
}

// sendmmsg of many: to 64 receivers, so that none has too many; "streak" are to the
// same one after the other.
enum { RECEIVERS = 64, MOST = 1100 };
static int streak = 1;

static int receiver(int i) { return i / streak % RECEIVERS; }

static void many(const char *name, int n, int bad, int broken) {
	static struct mmsghdr v[MOST];
	static struct message m[MOST];
	static struct sockaddr_in at[RECEIVERS];
	int to[RECEIVERS], fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), received = 0, counted = 0, wrong = 0;
	for (int i = 0; i < RECEIVERS; i++) {
		socklen_t len = sizeof at[i];
		at[i] = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
		to[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		must(bind(to[i], (void *)&at[i], len) == 0 && getsockname(to[i], (void *)&at[i], &len) == 0, "a receiver");
	}
	static char data[MOST][16];
	for (int i = 0; i < n; i++) {
		memset(data[i], i, sizeof data[i]);
		v[i].msg_hdr = *message(&m[i], data[i], 1 + i % 16);
		v[i].msg_hdr.msg_name = &at[receiver(i)];
		v[i].msg_hdr.msg_namelen = i == bad ? 3 : sizeof at[0];
		v[i].msg_len = 0xdead;
		if (i == broken) v[i].msg_hdr.msg_iov = (void *)16;
	}
	long r = sendmmsg(fd, v, n, MSG_NOSIGNAL);
	const char *result = got(r);
	for (int i = 0; i < n; i++) {
		counted += v[i].msg_len != 0xdead;
		wrong += i < r ? v[i].msg_len != (unsigned)(1 + i % 16) : v[i].msg_len != 0xdead;
	}
	char b[100];
	for (int i = 0; i < r && until(to[receiver(i)], POLLIN); i++)
		if (recv(to[receiver(i)], b, sizeof b, 0) == 1 + i % 16 && !memcmp(b, data[i], 1 + i % 16)) received++;
	for (int i = 0; i < RECEIVERS; i++) {
		while (recv(to[i], b, sizeof b, MSG_DONTWAIT) >= 0) received += 10000;
		close(to[i]);
	}
	char title[100];
	snprintf(title, sizeof title, "%s, %d to each in turn", name, streak);
	say(title, "%s, %d received, %d lengths, %d of them wrong", result, received, counted, wrong);
	close(fd);
}

static void several(void) {
	many("sendmmsg of 1", 1, -1, -1);
	many("sendmmsg of 1024", 1024, -1, -1);
	many("sendmmsg of 1025", 1025, -1, -1);
	many("sendmmsg of 1100, one fails in the middle", 1100, 512, -1);
	many("sendmmsg of 1024, the last fails", 1024, 1023, -1);
	many("sendmmsg of 1025, the one beyond the limit would fail", 1025, 1024, -1);
	many("sendmmsg of 3, the first fails", 3, 0, -1);
	many("sendmmsg of 3, vectors that cannot be read", 3, -1, 1);
	many("sendmmsg of 3, the first vectors cannot be read", 3, -1, 0);
}

void vectors(void) {
	several();
	streak = 17;
	several();
	streak = MOST;
	many("sendmmsg of 100 to one", 100, -1, -1);

	// A local vector: how much there is room for is the peer's.
	struct message m[3];
	struct mmsghdr v[3];
	int pair[2];
	char b[10];
	must(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair) == 0, "socketpair");
	while (send(pair[0], "x", 1, MSG_DONTWAIT) == 1) {}
	recv(pair[1], b, sizeof b, 0);
	recv(pair[1], b, sizeof b, 0);
	for (int i = 0; i < 3; i++) v[i] = (struct mmsghdr){*message(&m[i], "abc", i + 1), 77};
	timeout(pair[0], 150);
	long r = sendmmsg(pair[0], v, 3, 0);
	say("sendmmsg, room for two", "%s, lengths %u %u %u", got(r), v[0].msg_len, v[1].msg_len, v[2].msg_len);
	close(pair[0]), close(pair[1]);
}

// same compares open file descriptions.
static int same(int a, int b) { return syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a, b) == 0; }

// rights sends n descriptors, in messages of parts, the last of them bad.
static void pass(const char *kind, int type, int n, int parts, int bad) {
	char name[100], data[10];
	int pair[2], fds[300];
	snprintf(name, sizeof name, "SCM_RIGHTS, %s, %d descriptors%s%s", kind, n, parts > 1 ? " in two messages" : "", bad ? ", one is bad" : "");
	must(socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
	for (int i = 0; i < n; i++) {
		fds[i] = i % 3 == 0 ? open("/dev/null", O_RDONLY | O_CLOEXEC) : i % 3 == 1 ? local(SOCK_DGRAM) : fcntl(pair[1], F_DUPFD_CLOEXEC, 3);
		must(fds[i] >= 0, "a descriptor");
	}
	struct message m;
	int sent = fds[n - 1];
	if (bad) fds[n - 1] = 999;
	message(&m, "x", 1);
	for (int at = 0, i = 0; i < parts; i++) {
		int k = i < parts - 1 ? n / parts : n - at;
		control(&m, SOL_SOCKET, SCM_RIGHTS, fds + at, k * sizeof(int));
		at += k;
	}
	fds[n - 1] = sent;
	long r = sendmsg(pair[0], &m.h, MSG_NOSIGNAL);
	say(name, "%s", got(r));
	message(&m, data, sizeof data);
	m.h.msg_control = m.control, m.h.msg_controllen = sizeof m.control;
	r = recvmsg(pair[1], &m.h, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	const char *received = got(r);
	int count = 0, equal = 0;
	struct cmsghdr *c = r >= 0 ? CMSG_FIRSTHDR(&m.h) : NULL;
	if (c && c->cmsg_type == SCM_RIGHTS) {
		int *theirs = (int *)CMSG_DATA(c);
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (int i = 0; i < count; i++) {
			equal += i < n && same(fds[i], theirs[i]);
			close(theirs[i]);
		}
	}
	say(sub(name, "received"), "%s, %d descriptors, %d of them the same, flags %#x", received, count, equal, r >= 0 ? m.h.msg_flags : 0);
	for (int i = 0; i < n; i++) close(fds[i]);
	close(pair[0]), close(pair[1]);
}

void rights(void) {
	static const int counts[] = {1, 10, 253, 254};
	must(same(0, 0) && !same(0, 1), "kcmp");
	for (int i = 0; i < 4; i++) {
		pass("stream", SOCK_STREAM, counts[i], 1, 0);
		pass("datagram", SOCK_DGRAM, counts[i], 1, 0);
		pass("seqpacket", SOCK_SEQPACKET, counts[i], 1, 0);
	}
	pass("stream", SOCK_STREAM, 253, 2, 0);
	pass("stream", SOCK_STREAM, 254, 2, 0);
	pass("stream", SOCK_STREAM, 10, 1, 1);
	pass("datagram", SOCK_DGRAM, 10, 1, 1);
	pass("stream", SOCK_STREAM, 254, 1, 1);
	pass("datagram", SOCK_DGRAM, 254, 1, 1);

	// Nobody but the receiver holds what was sent.
	for (int i = 0; i < 2; i++) {
		int pair[2], ends[2];
		struct message m;
		char b[10];
		must(socketpair(AF_UNIX, i ? SOCK_DGRAM : SOCK_STREAM, 0, pair) == 0 && pipe(ends) == 0, "pipe");
		message(&m, "x", 1);
		control(&m, SOL_SOCKET, SCM_RIGHTS, &ends[1], sizeof(int));
		must(sendmsg(pair[0], &m.h, 0) == 1, "sendmsg");
		close(ends[1]);
		message(&m, b, sizeof b);
		m.h.msg_control = m.control, m.h.msg_controllen = sizeof m.control;
		must(recvmsg(pair[1], &m.h, 0) == 1, "recvmsg");
		struct pollfd p = {ends[0], POLLIN, 0};
		poll(&p, 1, 0);
		say(sub("SCM_RIGHTS, a pipe", i ? "datagram, while it is held" : "stream, while it is held"), "%#x", p.revents);
		close(*(int *)CMSG_DATA(CMSG_FIRSTHDR(&m.h)));
		say(sub("SCM_RIGHTS, a pipe", i ? "datagram, closed" : "stream, closed"), "%#x", until(ends[0], POLLIN));
		close(pair[0]), close(pair[1]), close(ends[0]);
	}
}

static const char *whose(pid_t pid) { return pid == getpid() ? "own" : pid == 0 ? "none" : pid == getppid() ? "the parent's" : "another's"; }

static void show(const char *name, int fd) {
	struct message m;
	char b[10] = {0};
	message(&m, b, sizeof b);
	m.h.msg_control = m.control, m.h.msg_controllen = sizeof m.control;
	long r = recvmsg(fd, &m.h, MSG_DONTWAIT);
	struct cmsghdr *c = r >= 0 ? CMSG_FIRSTHDR(&m.h) : NULL;
	if (!c || c->cmsg_type != SCM_CREDENTIALS) {
		say(name, "%s, no credentials", got(r));
		return;
	}
	struct ucred *u = (void *)CMSG_DATA(c);
	say(name, "process id %s, user %d:%d", whose(u->pid), u->uid, u->gid);
}

static void peer(const char *name, int fd) {
	struct ucred u;
	socklen_t n = sizeof u;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &u, &n)) say(name, "%s", strerrorname_np(errno));
	else say(name, "process id %s, user %d:%d", whose(u.pid), u.uid, u.gid);
}

void credentials(void) {
	static const struct { const char *name; int type; } kinds[] = {
		{"stream", SOCK_STREAM}, {"datagram", SOCK_DGRAM}, {"seqpacket", SOCK_SEQPACKET}};
	for (int i = 0; i < 3; i++) {
		int pair[2];
		struct message m;
		char name[100];
		struct ucred u = {getpid(), getuid(), getgid()};
		must(socketpair(AF_UNIX, kinds[i].type | SOCK_CLOEXEC, 0, pair) == 0, "socketpair");
		snprintf(name, sizeof name, "SO_PEERCRED, socketpair, %s", kinds[i].name);
		peer(name, pair[0]);
		on(pair[1], SOL_SOCKET, SO_PASSCRED);
		snprintf(name, sizeof name, "SO_PASSCRED, %s", kinds[i].name);
		long r = send(pair[0], "x", 1, 0);
		say(sub(name, "send"), "%s", got(r));
		show(sub(name, "send, received"), pair[1]);
		r = sendmsg(pair[0], message(&m, "x", 1), 0);
		say(sub(name, "sendmsg"), "%s", got(r));
		show(sub(name, "sendmsg, received"), pair[1]);
		snprintf(name, sizeof name, "SCM_CREDENTIALS, %s", kinds[i].name);
		message(&m, "x", 1);
		control(&m, SOL_SOCKET, SCM_CREDENTIALS, &u, sizeof u);
		r = sendmsg(pair[0], &m.h, 0);
		say(name, "%s", got(r));
		show(sub(name, "received"), pair[1]);
		u.uid++;
		message(&m, "x", 1);
		control(&m, SOL_SOCKET, SCM_CREDENTIALS, &u, sizeof u);
		r = sendmsg(pair[0], &m.h, 0);
		if (geteuid() != 0) say(sub(name, "another user's"), "%s", got(r)); // root may
		close(pair[0]), close(pair[1]);
	}
	int l = bound(SOCK_STREAM, "peers"), fd = local(SOCK_STREAM), to = bound(SOCK_DGRAM, "letters"), from = local(SOCK_DGRAM);
	must(connect_path(fd, "peers") == 0, "connect");
	int other = accept(l, NULL, NULL);
	peer("SO_PEERCRED, of a listener", fd);
	peer("SO_PEERCRED, of a client", other);
	on(to, SOL_SOCKET, SO_PASSCRED);
	struct sockaddr_un a;
	socklen_t n = un(&a, "letters");
	must(sendto(from, "x", 1, 0, (void *)&a, n) == 1, "sendto");
	show("SO_PASSCRED, sendto", to);
	must(connect(from, (void *)&a, n) == 0 && send(from, "x", 1, 0) == 1, "send");
	show("SO_PASSCRED, send to a peer", to);
	close(l), close(fd), close(other), close(to), close(from);
}
