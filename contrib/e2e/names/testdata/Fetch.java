import java.net.InetAddress;
import java.net.URL;
import java.util.Hashtable;
import javax.naming.directory.InitialDirContext;

/** Fetch HOST looks a name up and makes one exchange; Fetch HOST SERVER asks a server for its TXT records. */
class Fetch {
	public static void main(String[] args) throws Exception {
		if (args.length > 1) {
			Hashtable<String, String> env = new Hashtable<>();
			env.put("java.naming.factory.initial", "com.sun.jndi.dns.DnsContextFactory");
			env.put("java.naming.provider.url", "dns://" + args[1] + "/");
			System.out.println(new InitialDirContext(env).getAttributes(args[0], new String[] {"TXT"}));
			return;
		}
		for (InetAddress a : InetAddress.getAllByName(args[0])) {
			System.out.println(a.getHostAddress());
		}
		System.out.println(new String(new URL("http://" + args[0] + "/").openStream().readAllBytes()));
	}
}
