package manual

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/netjail/netjail/rules"
	"github.com/netjail/netjail/rules/rulefile"
)

func page(t *testing.T, name string) string {
	t.Helper()
	root := &cobra.Command{Use: "netjail"}
	odd := &cobra.Command{
		Use: "odd ID | APP DEST...", Long: "A headline\n\n'quoted' \\ and\n.dotted, --flag:\n\n  as it stands\n\nend",
		Run: func(*cobra.Command, []string) {},
	}
	odd.Flags().String("for", "7d", "how long: `TIME`")
	root.AddCommand(odd, &cobra.Command{Use: "secret", Hidden: true, Run: odd.Run})
	pages, err := Pages(root)
	if err != nil {
		t.Fatal(err)
	}
	if pages[name] == nil {
		t.Fatalf("no page %s", name)
	}
	return string(pages[name])
}

func TestCommands(t *testing.T) {
	got := page(t, "netjail.1")
	want := `.SS \fBnetjail\fP \fBodd\fP \fIID\fP | \fIAPP\fP \fIDEST\fP...
A headline.
.PP
\(aqquoted\(aq \e and
\&.dotted, \-\-flag:
.sp
.RS 4
.EX
as it stands
.EE
.RE
.PP
end.
.TP
\fB\-\-for\fP \fITIME\fP
How long: TIME.
The default is 7d.
`
	if !strings.Contains(got, want) {
		t.Errorf("got\n%s\nwant in it\n%s", got, want)
	}
	if strings.Contains(got, "secret") {
		t.Error("a hidden command is shown")
	}
}

// TestKeys: netjail-rules(5) has the keys that a rule file may have.
func TestKeys(t *testing.T) {
	_, err := rulefile.Parse("x", "", []byte("[[rule]]\nnone = 1\n"))
	if err == nil {
		t.Fatal("a rule may have any key")
	}
	_, list, ok := strings.Cut(err.Error(), "a rule has ")
	if !ok {
		t.Fatalf("the error does not list the keys: %v", err)
	}
	want := regexp.MustCompile(`[a-z]+`).FindAllString(strings.Replace(list, " or ", ", ", 1), -1)
	var got []string
	for _, m := range regexp.MustCompile(`(?m)^\.BI "([a-z]+) = "`).FindAllStringSubmatch(page(t, "netjail-rules.5"), -1) {
		got = append(got, m[1])
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("keys %v, want %v", got, want)
	}
}

// TestExamples: what netjail-rules(5) shows is understood.
func TestExamples(t *testing.T) {
	text := page(t, "netjail-rules.5")
	file := regexp.MustCompile(`(?s)\.EX\n(.*?)\.EE`).FindStringSubmatch(text)
	if file == nil {
		t.Fatal("no rule file in the page")
	}
	f, err := rulefile.Parse("example", "curl", []byte(strings.ReplaceAll(file[1], `\-`, "-")))
	if err != nil || len(f.Rules()) != 2 {
		t.Errorf("the rule file in the page: %v", err)
	}
	_, table, _ := strings.Cut(text, ".TS\n")
	table, _, _ = strings.Cut(table, ".TE\n")
	n := 0
	for _, m := range regexp.MustCompile(`\\fB(.*?)\\fP`).FindAllStringSubmatch(table, -1) {
		n++
		if _, err := rules.ParseDestination(strings.ReplaceAll(m[1], `\-`, "-")); err != nil {
			t.Error(err)
		}
	}
	if n < 10 {
		t.Errorf("%d destinations in the table", n)
	}
	for _, life := range []string{"once", "exit", "30m", "2h", "1d12h", "7d", "2w", "always"} {
		if _, err := rules.ParseLifetime(life); err != nil || !strings.Contains(text, life) {
			t.Errorf("lifetime %s: %v", life, err)
		}
	}
	if list, err := rules.ParseDestinations("example.org:80,443,@lan"); err != nil || len(list) != 2 {
		t.Errorf("%d destinations, %v", len(list), err)
	}
}

// TestRendering: groff has nothing to say about a page, and it fits.
func TestRendering(t *testing.T) {
	groff, err := exec.LookPath("groff")
	if err != nil {
		t.Log("no groff here: the pages are not rendered")
		return
	}
	for _, name := range []string{"netjail.1", "netjail-rules.5", "netjail-guards.7"} {
		cmd := exec.Command(groff, "-t", "-man", "-Tascii", "-P-cbou", "-ww", "-rLL=80n")
		cmd.Stdin = strings.NewReader(page(t, name))
		var said strings.Builder
		cmd.Stderr = &said
		out, err := cmd.Output()
		if err != nil || said.Len() > 0 {
			t.Errorf("%s: %v: %s", name, err, said.String())
		}
		for s := range strings.Lines(string(out)) {
			if len(strings.TrimRight(s, "\n")) > 80 {
				t.Errorf("%s: too wide: %s", name, s)
			}
		}
	}
}
