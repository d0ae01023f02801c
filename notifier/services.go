package notifier

// services names the ports a person is likely to be asked about. It is a help
// to read a question, no more: anything can listen anywhere.
var services = map[uint16]string{
	20: "ftp-data", 21: "ftp", 22: "ssh", 23: "telnet", 25: "smtp",
	43: "whois", 53: "domain", 80: "http", 88: "kerberos",
	110: "pop3", 119: "nntp", 123: "ntp", 135: "msrpc", 139: "netbios", 143: "imap",
	161: "snmp", 194: "irc", 389: "ldap", 443: "https", 445: "smb",
	465: "smtps", 514: "syslog", 515: "printer", 548: "afp", 554: "rtsp",
	587: "submission", 631: "ipp", 636: "ldaps", 853: "dns over tls", 873: "rsync",
	989: "ftps-data", 990: "ftps", 993: "imaps", 995: "pop3s",
	1080: "socks", 1194: "openvpn", 1433: "mssql", 1521: "oracle",
	1723: "pptp", 1883: "mqtt", 2049: "nfs", 2375: "docker", 2376: "docker tls",
	3128: "proxy", 3306: "mysql", 3389: "rdp", 3478: "stun", 3690: "svn",
	4222: "nats", 5060: "sip", 5222: "xmpp", 5269: "xmpp-server",
	5353: "mdns", 5432: "postgresql", 5672: "amqp", 5900: "vnc",
	6379: "redis", 6443: "kubernetes", 6667: "irc", 6697: "ircs",
	8080: "http-alt", 8333: "bitcoin", 8443: "https-alt", 8883: "mqtts",
	9050: "tor", 9090: "prometheus", 9200: "elasticsearch", 9418: "git",
	11211: "memcached", 11434: "ollama", 27017: "mongodb",
}

// udpServices differ from services where a port carries something else over UDP.
var udpServices = map[uint16]string{
	67: "dhcp", 68: "dhcp", 69: "tftp", 137: "netbios", 138: "netbios",
	443: "http/3", 500: "ipsec", 514: "syslog", 853: "dns over quic",
	1900: "ssdp", 3702: "ws-discovery", 4500: "ipsec", 5355: "llmnr", 51820: "wireguard",
}
