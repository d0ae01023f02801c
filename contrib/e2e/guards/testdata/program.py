"""A program in a jail: does what its arguments say, and prints what came of it."""
import errno, os, select, socket, sys, time


def said(f):
    try:
        return f()
    except OSError as e:
        return errno.errorcode.get(e.errno, str(e))


def family(host):
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def tcp(host, port):
    with socket.socket(family(host)) as s:
        s.settimeout(20)
        s.connect((host, port))
        s.sendall(b"hello")
        return s.recv(100).decode()


def udp(call):
    def f(host, port):
        with socket.socket(family(host), socket.SOCK_DGRAM) as s:
            s.settimeout(5)
            if call == "connect":
                s.connect((host, port))
                s.send(b"hello")
            elif call == "sendto":
                s.sendto(b"hello", (host, port))
            else:
                s.sendmsg([b"hello"], [], 0, (host, port))
            data, source = s.recvfrom(100)
            return data.decode() if source[0] == host else "from " + source[0]
    return f


def nowait(host, port):
    """connects without waiting, and waits for what becomes of it"""
    s = socket.socket(family(host))
    s.setblocking(False)
    start = time.monotonic()
    e = s.connect_ex((host, port))
    print("at once", errno.errorcode[e], "quick" if time.monotonic() - start < 1 else "slow", flush=True)
    select.select([], [s], [], 40)
    e = s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    return errno.errorcode[e] if e else "connected to " + s.getpeername()[0]


def hold(host, port):
    """holds a connection until it ends"""
    s = socket.socket(family(host))
    s.connect((host, port))
    s.sendall(b"x")
    s.recv(1)
    print("held", flush=True)
    s.settimeout(60)
    return "ended" if not s.recv(1) else "data"


def messages(host, port):
    """sends messages until one is answered, or for long enough"""
    s = socket.socket(family(host), socket.SOCK_DGRAM)
    s.settimeout(0.2)
    for _ in range(40):
        try:
            s.sendmsg([b"hello"], [], 0, (host, port))
            return s.recv(100).decode()
        except OSError:
            time.sleep(0.1)
    return "none"


def lookup(how):
    """asks the name server in resolv.conf, without connecting"""
    def f(name, port):
        query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0" + b"".join(
            bytes([len(x)]) + x.encode() for x in name.split(".")) + b"\0\0\x01\0\x01"
        server = ("192.0.2.2", 53)
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        s.settimeout(10)
        if how == "sendto":
            s.sendto(query, server)
        else:
            s.sendmsg([query], [], 0, server)
        data, source = s.recvfrom(512)
        if source != server:
            return "from %s:%d" % source
        return "rcode %d" % (data[3] & 15) if data[3] & 15 else socket.inet_ntoa(data[-4:])
    return f


def listen(host, port):
    """listens, and answers one"""
    s = socket.socket(family(host))
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if port:
        s.bind((host, port))
    s.listen(5)
    print("listens", s.getsockname()[1], flush=True)
    s.settimeout(30)
    c, peer = s.accept()
    c.sendall(b"hello")
    return "accepted"


calls = {
    "tcp": tcp, "udp": udp("connect"), "sendto": udp("sendto"), "sendmsg": udp("sendmsg"), "nowait": nowait, "hold": hold,
    "messages": messages, "ask-sendto": lookup("sendto"), "ask-sendmsg": lookup("sendmsg"), "listen": listen,
    "getaddrinfo": lambda name, port: socket.getaddrinfo(name, port, socket.AF_INET)[0][4][0],
}
args = sys.argv[1:]
if args and args[0] == "wait":  # for the file of that name
    while not os.path.exists(args[1]):
        time.sleep(0.01)
    args = args[2:]
for what, host, port in zip(args[0::3], args[1::3], args[2::3]):
    print(what, host, said(lambda: calls[what](host, int(port))), flush=True)
