// Names of local sockets: how they are resolved, and what is made of them.
#include "semantics.h"
#include <grp.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

// named prints what a socket of a name of n bytes becomes, and what reaches it.
static void named(const char *name, const char *bytes, size_t n) {
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + n;
	int l = local(SOCK_STREAM), fd = local(SOCK_STREAM), other = local(SOCK_DGRAM), to = local(SOCK_DGRAM);
	memcpy(a.sun_path, bytes, n);
	long r = bind(l, (void *)&a, len);
	say(sub(name, "bind"), "%s", got(r));
	if (r == 0) {
		state(sub(name, "bind"), l);
		r = listen(l, 100);
		say(sub(name, "listen"), "%s", got(r));
	}
	r = connect(fd, (void *)&a, len);
	say(sub(name, "connect"), "%s", got(r));
	state(sub(name, "connect"), fd);
	r = bind(other, (void *)&a, len);
	say(sub(name, "bind another"), "%s", got(r));
	close(l), close(other), close(fd);
	if (n > 0 && bytes[0]) unlink(strndupa(bytes, n));
	l = local(SOCK_DGRAM);
	if (bind(l, (void *)&a, len) == 0 && n > 0) {
		char b[10];
		r = sendto(to, "x", 1, 0, (void *)&a, len);
		say(sub(name, "sendto"), "%s", got(r));
		r = recv(l, b, sizeof b, MSG_DONTWAIT);
		say(sub(name, "received"), "%s", got(r));
		r = connect(to, (void *)&a, len);
		say(sub(name, "connect a datagram socket"), "%s", got(r));
		state(sub(name, "connect a datagram socket"), to);
	}
	close(l), close(to);
	if (n > 0 && bytes[0]) unlink(strndupa(bytes, n));
}

// long_path is the absolute path of n bytes of a file here. The directory is
// not the same in two runs, but its name is as long.
static char *long_path(char *b, size_t n) {
	must(getcwd(b, 200) != NULL, "getcwd");
	size_t at = strlen(b);
	memset(b + at, 'a', n - at);
	b[at] = '/', b[n] = 0;
	return b;
}

static void connects(const char *name, const char *path) {
	int fd = local(SOCK_STREAM), dg = local(SOCK_DGRAM);
	struct sockaddr_un a;
	socklen_t n = un(&a, path);
	long r = connect(fd, (void *)&a, n);
	say(sub(name, "connect"), "%s", got(r));
	if (r == 0) state(name, fd);
	r = sendto(dg, "x", 1, 0, (void *)&a, n);
	say(sub(name, "sendto"), "%s", got(r));
	close(fd), close(dg);
}

static void binds(const char *name, const char *path) {
	int fd = local(SOCK_STREAM);
	long r = bind_path(fd, path);
	say(sub(name, "bind"), "%s", got(r));
	if (r == 0) {
		state(sub(name, "bind"), fd);
		unlink(path);
	}
	close(fd);
}

// elsewhere is a thread, or a process, with a directory and an umask of its own.
static pthread_barrier_t *both;
static void *elsewhere(void *x) {
	must(unshare(CLONE_FS) == 0 && chdir("elsewhere") == 0, "elsewhere");
	umask(077);
	pthread_barrier_wait(both);
	int l = bound(SOCK_STREAM, "theirs"), fd = local(SOCK_STREAM), none = local(SOCK_STREAM);
	long r = connect_path(fd, "theirs");
	say("another directory: connect", "%s", got(r));
	r = connect_path(none, "ours");
	say("another directory: connect to ours", "%s", got(r));
	pthread_barrier_wait(both);
	pthread_barrier_wait(both);
	close(l), close(fd), close(none);
	return x;
}
static void elsewhere_child(void) { elsewhere(NULL); }

static void mode(const char *name, const char *path) {
	struct stat st;
	if (lstat(path, &st)) say(sub(name, "file"), "%s", strerrorname_np(errno));
	else say(sub(name, "file"), "mode %o, owner %d:%d", st.st_mode, (int)st.st_uid, (int)st.st_gid);
}

static void two_directories(void) {
	pthread_t t;
	pid_t pid = -1;
	pthread_barrierattr_t attr;
	both = mmap(NULL, sizeof *both, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(both, &attr, 2);
	mkdir("elsewhere", 0755);
	if (threads) {
		must(pthread_create(&t, NULL, elsewhere, NULL) == 0, "pthread_create");
	} else if ((pid = fork()) == 0) {
		elsewhere_child();
		_exit(0);
	}
	pthread_barrier_wait(both);
	pthread_barrier_wait(both); // what it prints comes first
	int l = bound(SOCK_STREAM, "ours"), fd = local(SOCK_STREAM), none = local(SOCK_STREAM);
	long r = connect_path(fd, "ours");
	say("our directory: connect", "%s", got(r));
	r = connect_path(none, "theirs");
	say("our directory: connect to theirs", "%s", got(r));
	mode("our directory", "ours");
	mode("another directory", "elsewhere/theirs");
	pthread_barrier_wait(both);
	if (threads) pthread_join(t, NULL);
	else waitpid(pid, NULL, 0);
	unlink("ours");
	close(l), close(fd), close(none);
}

static void unlinked(void) {
	char top[200], path[300];
	must(getcwd(top, sizeof top) && mkdir("gone", 0755) == 0 && chdir("gone") == 0 && rmdir("../gone") == 0, "gone");
	grow();
	snprintf(path, sizeof path, "%s/from-gone", top);
	binds("unlinked directory, relative", "x");
	connects("unlinked directory, relative", "x");
	connects("unlinked directory, parent", "../target");
	binds("unlinked directory, parent", "../x");
	int l = local(SOCK_STREAM), fd = local(SOCK_STREAM);
	long r = bind_path(l, path);
	say("unlinked directory, absolute: bind", "%s", got(r));
	listen(l, 100);
	r = connect_path(fd, path);
	say("unlinked directory, absolute: connect", "%s", got(r));
	unlink(path);
}

// closed: an absolute path needs no right to the working directory.
static void closed(void) {
	char top[200], path[300];
	must(getcwd(top, sizeof top) && mkdir("closed", 0755) == 0 && chdir("closed") == 0 && chmod(".", 0) == 0, "closed");
	grow();
	snprintf(path, sizeof path, "%s/from-closed", top);
	binds("closed directory, relative", "x");
	connects("closed directory, relative", "x");
	int l = local(SOCK_STREAM), fd = local(SOCK_STREAM);
	long r = bind_path(l, path);
	say("closed directory, absolute: bind", "%s", got(r));
	listen(l, 100);
	r = connect_path(fd, path);
	say("closed directory, absolute: connect", "%s", got(r));
	unlink(path);
}

// abstract names are the network namespace's: this has one for itself, so that
// nobody else has them.
static void abstract(void) {
	char b[108];
	must(unshare(CLONE_NEWNET | (geteuid() ? CLONE_NEWUSER : 0)) == 0, "a network namespace");
	grow();
	named("autobind", "", 0);
	named("abstract name", "\0netjail-semantics", 18);
	memset(b, 'n', 108);
	b[0] = 0;
	named("abstract name of 107 bytes", b, 108);
	named("abstract name with NULs", "\0net\0jail\0", 10);
	named("the same name with another NUL", "\0net\0jail\0\0", 11);
	named("abstract name of NULs", "\0\0\0", 3);
	named("abstract name of no bytes", "\0", 1);
}

void paths(void) {
	char b[300];
	struct stat st;
	named("relative path", "rel", 3);
	named("relative path with NUL", "rel", 4);
	named("relative path, and more behind a NUL", "rel\0more", 8);
	named("path of 107 bytes", long_path(b, 107), 107);
	named("path of 108 bytes", long_path(b, 108), 108);
	memset(b, 'r', 108);
	named("relative path of 107 bytes", b, 107);
	named("relative path of 108 bytes", b, 108);
	child(abstract);

	int target = bound(SOCK_STREAM, "target"), dgram = bound(SOCK_DGRAM, "dgram");
	mkdir("dir", 0755), mkdir("dir/deep", 0755);
	symlink("target", "link"), symlink("dgram", "dlink"), symlink("nothing", "dangling"), symlink("loop", "loop");
	symlink("dir/deep", "dirlink"), symlink("/proc/self/cwd/target", "proclink");
	close(open("file", O_CREAT | O_WRONLY, 0644));
	connects("symlink", "link");
	connects("symlink to a datagram socket", "dlink");
	connects("dangling symlink", "dangling");
	connects("symlink to itself", "loop");
	connects("file", "file");
	connects("directory", "dir");
	connects("below a file", "file/x");
	connects("nothing", "nothing");
	connects("through ..", "dir/../target");
	connects("through . and //", ".//./target");
	connects("symlink and ..", "dirlink/../../target");
	connects("trailing slash", "target/");
	connects("through /proc/self", "/proc/self/cwd/target");
	binds("symlink", "link");
	binds("dangling symlink", "dangling");
	say("dangling symlink: made", "%d", lstat("nothing", &st));
	binds("symlink to itself", "loop");
	binds("through a symlink", "dirlink/x");
	binds("existing socket", "target");
	binds("existing file", "file");
	binds("existing directory", "dir");
	binds("directory that is not there", "nowhere/x");
	binds("below a file", "file/x");
	binds("trailing slash", "trailing/");
	binds("dot", ".");
	binds("dot dot", "..");
	binds("below", "dir/x");
	int fd = local(SOCK_STREAM);
	bind_path(fd, "first");
	long r = bind_path(fd, "second");
	say("bind twice", "%s", got(r));
	say("bind twice: made", "%d", lstat("second", &st));
	close(fd);
	two_directories();
	child(unlinked);
	child(closed);
	close(target), close(dgram);
}

static void masked(mode_t mask) {
	char name[100], path[100];
	snprintf(name, sizeof name, "umask %03o", mask);
	snprintf(path, sizeof path, "mask%03o", mask);
	umask(mask);
	int fd = local(SOCK_STREAM), dg = local(SOCK_DGRAM);
	long r = bind_path(fd, path);
	say(sub(name, "bind"), "%s", got(r));
	mode(name, path);
	strcat(path, "d");
	r = bind_path(dg, path);
	say(sub(name, "bind a datagram socket"), "%s", got(r));
	mode(sub(name, "datagram"), path);
	close(fd), close(dg);
	umask(022);
}

// dropped has given root's rights up.
static void dropped(void) {
	must(setgroups(0, NULL) == 0 && setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0, "setresuid");
	grow();
	int fd = local(SOCK_STREAM);
	long r = bind_path(fd, "open/mine");
	say("without root's rights: bind", "%s", got(r));
	mode("without root's rights", "open/mine");
	close(fd);
	binds("without root's rights, directory of root's", "dir/x");
	connects("without root's rights, socket of root's", "secret");
	connects("without root's rights, below a directory of root's", "private/s");
}

void owners(void) {
	masked(0), masked(077), masked(022), masked(0777);
	mkdir("readonly", 0755);
	chmod("readonly", 0555);
	binds("read-only directory", "readonly/x");
	mkdir("private", 0700);
	int inside = bound(SOCK_STREAM, "private/s"), secret = bound(SOCK_STREAM, "secret");
	chmod("secret", 0600);
	connects("private", "private/s");
	mkdir("open", 0777), chmod("open", 02777);
	int fd = local(SOCK_STREAM);
	bind_path(fd, "open/s");
	mode("set-group-ID directory", "open/s");
	close(fd);
	chmod("open", 0777);
	int shut = bound(SOCK_STREAM, "shut");
	chmod("shut", 0);
	connects("mode 0", "shut");
	chmod("secret", 0400);
	connects("mode 0400", "secret");
	chmod("secret", 0600);
	if (geteuid() == 0) child(dropped);
	close(inside), close(secret), close(shut);
}

// other_root has another root directory.
static void other_root(void) {
	if (geteuid() != 0) must(unshare(CLONE_NEWUSER) == 0, "a user namespace");
	must(chroot("root") == 0 && chdir("/dir") == 0, "chroot");
	grow();
	int l = local(SOCK_STREAM), fd = local(SOCK_STREAM), rel = local(SOCK_DGRAM), to = local(SOCK_DGRAM);
	long r = bind_path(l, "/dir/sock");
	say("another root: bind", "%s", got(r));
	state("another root: bind", l);
	mode("another root", "/dir/sock");
	listen(l, 100);
	r = connect_path(fd, "/dir/sock");
	say("another root: connect", "%s", got(r));
	state("another root: connect", fd);
	r = bind_path(rel, "rel");
	say("another root, relative: bind", "%s", got(r));
	state("another root, relative: bind", rel);
	r = connect_path(to, "/dir/rel");
	say("another root, relative: connect", "%s", got(r));
	connects("another root, absolute symlink", "/link");
	connects("another root, relative and through an absolute symlink", "../link");
	connects("another root, through a symlink to what is outside", "../outside");
	connects("another root, by its relative name", "sock");
	connects("another root, above it", "/../../dir/sock");
	connects("another root, relative and above it", "../../../dir/sock");
	connects("another root, what is outside", "/target");
	binds("another root, nowhere", "/nowhere/x");
	binds("another root, existing", "/dir/sock");
	binds("another root, through a symlink", "/dirlink/x");
	binds("another root, trailing slash", "/dir/trailing/");
	binds("another root, dot", ".");
	binds("another root, dangling", "/dangling");
}

void roots(void) {
	int outside = bound(SOCK_STREAM, "target2");
	mkdir("root", 0755), mkdir("root/dir", 0755);
	symlink("/dir/sock", "root/link"), symlink("/dir", "root/dirlink"), symlink("/dir/nothing", "root/dangling");
	char b[200], path[220];
	must(getcwd(b, sizeof b) != NULL, "getcwd");
	snprintf(path, sizeof path, "%s/target2", b);
	symlink(path, "root/outside");
	child(other_root);
	// Two that are outside meet in it.
	connects("into another root", "root/dir/sock");
	close(outside);
}
