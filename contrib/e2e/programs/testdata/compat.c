/* compat makes every kind of socket call of a 32-bit program, to itself, and
 * prints the results: the same with netjail as without. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static long say(const char *what, long r)
{
	if (r < 0)
		printf("%s: %s\n", what, strerrorname_np(errno));
	else
		printf("%s: %ld\n", what, r);
	return r;
}

static struct sockaddr_in name_of(int fd)
{
	struct sockaddr_in a;
	socklen_t len = sizeof a;
	getsockname(fd, (struct sockaddr *)&a, &len);
	return a;
}

static void streams(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, at;
	int l = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP), one = 1;
	say("cloexec of plain", fcntl(l, F_GETFD));
	say("cloexec of cloexec", fcntl(c, F_GETFD));
	say("reuse", setsockopt(l, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one));
	say("nodelay", setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one));
	say("bind", bind(l, (struct sockaddr *)&any, sizeof any));
	say("listen", listen(l, 5));
	at = name_of(l);
	say("connect short", connect(c, (struct sockaddr *)&at, 15));
	say("connect", connect(c, (struct sockaddr *)&at, sizeof at));
	say("connect again", connect(c, (struct sockaddr *)&at, sizeof at));
	int s = accept4(l, NULL, NULL, SOCK_NONBLOCK);
	say("send", send(c, "hello", 5, 0));
	char buf[64];
	struct pollfd p = {s, POLLIN, 0};
	poll(&p, 1, 10000);
	say("recv", recv(s, buf, sizeof buf, 0));
	say("bad descriptor", connect(999, (struct sockaddr *)&at, sizeof at));
	say("not a socket", connect(0, (struct sockaddr *)&at, sizeof at));
	say("fault", connect(c, (struct sockaddr *)8, sizeof at));
	close(l), close(c), close(s);
}

static void datagrams(void)
{
	struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, at;
	int r = socket(AF_INET, SOCK_DGRAM, 0), s = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), one = 1;
	say("bind", bind(r, (struct sockaddr *)&any, sizeof any));
	at = name_of(r);
	struct timeval tv = {10, 500000}, back;
	socklen_t len = sizeof back;
	say("timeout", setsockopt(r, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv));
	say("get timeout", getsockopt(r, SOL_SOCKET, SO_RCVTIMEO, &back, &len));
	printf("%ld.%06ld\n", (long)back.tv_sec, (long)back.tv_usec);
	say("recvtos", setsockopt(r, IPPROTO_IP, IP_RECVTOS, &one, sizeof one));
	say("send nowhere", sendto(s, "x", 1, 0, NULL, 0));
	say("sendto", sendto(s, "abc", 3, 0, (struct sockaddr *)&at, sizeof at));

	char one_part[] = "de", other[] = "fgh", control[CMSG_SPACE(sizeof(int))] = "";
	struct iovec iov[] = {{one_part, 2}, {other, 3}};
	struct msghdr m = {&at, sizeof at, iov, 2, control, sizeof control, 0};
	struct cmsghdr *cm = CMSG_FIRSTHDR(&m);
	cm->cmsg_level = IPPROTO_IP, cm->cmsg_type = IP_TOS, cm->cmsg_len = CMSG_LEN(sizeof(int));
	int tos = 0x10;
	memcpy(CMSG_DATA(cm), &tos, sizeof tos);
	say("sendmsg", sendmsg(s, &m, 0));
	cm->cmsg_len = 5;
	say("sendmsg, short control", sendmsg(s, &m, 0));
	iov[1].iov_len = 0x80000000;
	m.msg_control = NULL, m.msg_controllen = 0;
	say("sendmsg, negative length", sendmsg(s, &m, 0));
	iov[1].iov_len = 3;

	struct mmsghdr v[3] = {{m, 0}, {m, 0}, {m, 0}};
	v[1].msg_hdr.msg_iovlen = 1;
	say("sendmmsg", sendmmsg(s, v, 3, 0));
	printf("%u %u %u\n", v[0].msg_len, v[1].msg_len, v[2].msg_len);
	for (int i = 0; i < 5; i++) {
		char buf[64], ctl[64];
		struct iovec in = {buf, sizeof buf};
		struct msghdr got = {.msg_iov = &in, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl};
		long n = say("recvmsg", recvmsg(r, &got, 0));
		struct cmsghdr *c = CMSG_FIRSTHDR(&got);
		if (n > 0)
			printf("%.*s tos %d\n", (int)n, buf, c ? *(unsigned char *)CMSG_DATA(c) : -1);
	}
	close(r), close(s);
}

static void local(void)
{
	int pair[2], got = -1;
	say("socketpair", socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	say("cloexec of pair", fcntl(pair[1], F_GETFD));
	say("pass credentials", setsockopt(pair[0], SOL_SOCKET, SO_PASSCRED, (int[]){0}, sizeof(int)));
	char byte = 'r', control[CMSG_SPACE(sizeof(int))] = "";
	struct iovec iov = {&byte, 1};
	struct msghdr m = {NULL, 0, &iov, 1, control, sizeof control, 0};
	struct cmsghdr *cm = CMSG_FIRSTHDR(&m);
	int file = memfd_create("m", 0);
	say("write", write(file, "content", 7));
	cm->cmsg_level = SOL_SOCKET, cm->cmsg_type = SCM_RIGHTS, cm->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cm), &file, sizeof file);
	say("pass a descriptor", sendmsg(pair[0], &m, 0));
	say("receive it", recvmsg(pair[1], &m, 0));
	memcpy(&got, CMSG_DATA(cm), sizeof got);
	char buf[8] = "";
	say("read it", pread(got, buf, 7, 0));
	printf("%s\n", buf);

	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "./compat.sock"};
	int l = socket(AF_UNIX, SOCK_STREAM, 0), c = socket(AF_UNIX, SOCK_STREAM, 0);
	unlink(un.sun_path);
	say("bind", bind(l, (struct sockaddr *)&un, sizeof un));
	say("listen", listen(l, 1));
	say("connect", connect(c, (struct sockaddr *)&un, sizeof un));
	unlink(un.sun_path);
	say("connect to nothing", connect(c, (struct sockaddr *)&un, sizeof un));
}

int main(void)
{
	streams();
	datagrams();
	local();
	say("unknown call", syscall(SYS_socketcall, 21, NULL));
	say("arguments out of reach", syscall(SYS_socketcall, 3, 8));
}
