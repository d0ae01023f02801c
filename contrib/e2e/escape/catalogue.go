package escape

import "fmt"

// The catalogue of known ways out has sections A to E with so many rows each.
var sections = []struct {
	name string
	rows int
}{{"A", 10}, {"B", 17}, {"C", 20}, {"D", 14}, {"E", 19}}

// Catalogue lists the catalogue's rows: A1 to E19. The table has each of them,
// and some that were found later.
func Catalogue() []string {
	var list []string
	for _, s := range sections {
		for i := range s.rows {
			list = append(list, fmt.Sprintf("%s%d", s.name, i+1))
		}
	}
	return list
}

// Open is a way out that netjail does not close.
type Open struct {
	Row string // what follows a slash is a part of a row that is closed otherwise
	How string
	Why string // it is out of reach
}

// OutOfReach lists them. The README's threat model names each.
func OutOfReach() []Open {
	return []Open{
		{"C4/thread", "io_uring, an inherited ring with a kernel thread", "--keep-fd of a ring whose creator's kernel thread sends"},
		{"C18", "files on NFS, SMB, sshfs, /net", "netjail looks at calls of sockets, not of files"},
		{"D2/out", "a socket passed out to an unjailed process", "an unjailed process sends"},
		{"D6/bus", "systemd-run by the session bus", "an unjailed program acts for it"},
		{"D7", "D-Bus activation, portals, xdg-open", "an unjailed program acts for it"},
		{"D9/others", "ssh ControlMaster, tmux, emacs, CUPS, sendmail, at", "a local service that no list knows acts for it"},
		{"D10", "X11 and Wayland: keys for another window", "an unjailed terminal types"},
		{"D12", "~/.bashrc, autostart, cron, git hooks", "it runs later, and outside of the jail"},
		{"D14/exe", "running or tracing a program that an --exe rule allows", "what runs in a jail is one, whoever started it"},
		{"E13/rights", "rights that a program in the jail gave up by setuid or Landlock", "its calls are made with the supervisor's"},
		{"E18/hidden", "a connection that is in a message on its way when its rule is removed", "no process has it: it is not found"},
	}
}
