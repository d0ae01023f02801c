package names

import (
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
)

//go:embed testdata/Fetch.java
var fetchJava []byte

// TestJava has Java look names up by the C library, and by itself. It is large:
// contrib/test does not install it.
func TestJava(t *testing.T) {
	for _, program := range []string{"java", "javac"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("Java is not tested, there is none here:", err)
		}
	}
	source := filepath.Join(built.dir, "Fetch.java")
	if err := os.WriteFile(source, fetchJava, 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("javac", "-d", built.dir, source).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	java := []string{"java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", built.dir, "Fetch"}
	for _, host := range []string{"a.example.org", "six.example.org"} {
		t.Run(host, func(t *testing.T) { threeRuns(t, host, append(slices.Clone(java), host)) })
	}
	for server, url := range map[string]string{dnsServer: dnsServer, dnsServer6: "[" + dnsServer6 + "]"} {
		t.Run("TXT at "+server, func(t *testing.T) {
			configure(t, "/etc/resolv.conf", "nameserver "+server+"\n")
			const name = "records.example.org"
			lookedUp(t, name, []string{"v=spf1 -all"}, append(slices.Clone(java), name, url)...)
		})
	}
}
