/* compat_race PORT1 PORT2 N: connects and sends N times with socketcall(2),
 * while another thread swaps the port in the address, the address in the
 * arguments, and the descriptor. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static struct sockaddr_in ok, bad;
static volatile struct sockaddr_in one;
static volatile unsigned long args[6];
static volatile int done;

static void *swap(void *unused)
{
	while (!done) {
		one.sin_port = bad.sin_port;
		args[1] = (unsigned long)&bad;
		one.sin_port = ok.sin_port;
		args[1] = (unsigned long)&one;
	}
	return unused;
}

int main(int argc, char **argv)
{
	pthread_t t;
	int allowed = 0, n = atoi(argv[3]);
	ok = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(atoi(argv[1]))};
	bad = ok;
	bad.sin_port = htons(atoi(argv[2]));
	one = ok;
	pthread_create(&t, NULL, swap, NULL);
	for (int i = 0; i < n; i++) {
		int fd = socket(AF_INET, SOCK_DGRAM, 0);
		args[0] = fd, args[1] = (unsigned long)&one, args[2] = sizeof one;
		if (syscall(SYS_socketcall, 3, args) == 0 && send(fd, "x", 1, 0) == 1)
			allowed++;
		close(fd);
	}
	done = 1;
	pthread_join(t, NULL);
	printf("%d\n", allowed);
	return argc != 4;
}
