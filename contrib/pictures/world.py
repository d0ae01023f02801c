"""The internet of the pictures: a name server that knows every name, and a web server at each address."""
import hashlib, socket, struct, sys, threading, time

ADDRESSES = ["192.0.2.%d" % n for n in range(7, 40)]

def address(name):
    return ADDRESSES[0] if name == "example.org" else ADDRESSES[1 + hashlib.sha256(name.encode()).digest()[0] % (len(ADDRESSES) - 1)]

def names():
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.bind(("127.0.0.1", 53))
    while True:
        query, client = s.recvfrom(4096)
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[12:at + 5]
        answer = b""
        if question[-4:-2] == b"\0\1":  # A
            answer = b"\xc0\x0c\0\1\0\1" + struct.pack("!IH", 300, 4) + socket.inet_aton(address(".".join(labels)))
        s.sendto(query[:2] + b"\x81\x80\0\1" + struct.pack("!H", bool(answer)) + b"\0\0\0\0" + question + answer, client)

def serve(client):
    try:
        client.recv(4096)
        client.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<h1>Example</h1>\n")
        if client.getsockname()[1] == 443:  # goes on for as long as somebody looks
            while True:
                client.sendall(b"x" * 20000)
                time.sleep(0.2)
    except OSError:
        pass
    client.close()

def web(port):
    s = socket.create_server(("0.0.0.0", port), backlog=100)
    while True:
        threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()

for target, args in ((names, ()), (web, (80,)), (web, (443,))):
    threading.Thread(target=target, args=args, daemon=True).start()
print("ready", flush=True)
sys.stdin.read()
