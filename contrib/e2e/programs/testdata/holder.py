# Opens connections and does with them what it is told on standard input.
import socket, sys

host, port, udp_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
held = [socket.create_connection((host, port)) for _ in range(3)]
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.connect(("127.0.0.1", udp_port))
held.append(u)
print("ready", *[s.getsockname()[1] for s in held], flush=True)
while True:  # a signal ends it, or the end of what it is told
    line = sys.stdin.readline()
    if not line:
        break
    what, i, *rest = line.split()
    s = held[int(i)]
    if what == "send":
        s.sendall(b"x" * int(rest[0]))
        print("sent", flush=True)
    elif what == "read":
        s.settimeout(60)
        print("read", len(s.recv(4096)), flush=True)
    elif what == "close":
        s.close()
        print("closed", flush=True)
