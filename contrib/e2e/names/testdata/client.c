/* A client of the C library's resolver.
 *
 *   client lookup NAME...    what getaddrinfo says of each
 *   client fetch HOST PORT   one exchange in HTTP
 */
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int by_text(const void *a, const void *b) { return strcmp(a, b); }

static void lookup(const char *name)
{
	static char found[4096][64];
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list, *a;
	int n = 0, err = getaddrinfo(name, "80", &hints, &list);
	printf("%s:", name);
	if (err) {
		fprintf(stderr, "%s: %s\n", name, gai_strerror(err));
		puts(" failed");
		fflush(stdout);
		return;
	}
	for (a = list; a && n < 4096; a = a->ai_next)
		getnameinfo(a->ai_addr, a->ai_addrlen, found[n++], sizeof found[0], NULL, 0, NI_NUMERICHOST);
	qsort(found, n, sizeof found[0], by_text);
	for (int i = 0; i < n; i++)
		if (i == 0 || strcmp(found[i], found[i - 1]) != 0)
			printf(" %s", found[i]);
	puts("");
	fflush(stdout);
	freeaddrinfo(list);
}

static int fetch(const char *host, const char *port)
{
	static const char request[] = "GET / HTTP/1.0\r\n\r\n";
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *list, *a;
	int err = getaddrinfo(host, port, &hints, &list);
	if (err) {
		fprintf(stderr, "%s: %s\n", host, gai_strerror(err));
		return 1;
	}
	for (a = list; a; a = a->ai_next) {
		int s = socket(a->ai_family, a->ai_socktype, 0);
		if (connect(s, a->ai_addr, a->ai_addrlen) == 0) {
			char buf[4096];
			ssize_t n;
			if (write(s, request, sizeof request - 1) < 0)
				return 2;
			while ((n = read(s, buf, sizeof buf)) > 0)
				fwrite(buf, 1, n, stdout);
			return 0;
		}
		perror(host);
		close(s);
	}
	return 2;
}

int main(int argc, char **argv)
{
	if (argc == 4 && strcmp(argv[1], "fetch") == 0)
		return fetch(argv[2], argv[3]);
	for (int i = 2; i < argc; i++)
		lookup(argv[i]);
	return 0;
}
