package desk

import (
	"fmt"
	"image"
	"image/png"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/netjail/netjail/contrib/e2e/e2etest"
)

// notificationDaemon is GNOME's old one, which draws buttons.
const notificationDaemon = "/usr/lib/notification-daemon/notification-daemon"

// busConfig is a session bus that starts nothing by itself.
const busConfig = `<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:path=%s</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
`

// desktop is a display and a session bus.
type desktop struct {
	t   *testing.T
	h   *e2etest.Home
	env []string // of what runs on it
	log string   // directory of the pictures
	bus *exec.Cmd
}

// bus starts a session bus that everything in h uses from then on.
func bus(t *testing.T, h *e2etest.Home) *desktop {
	t.Helper()
	e2etest.Need(t, "gdbus")
	sock := filepath.Join(h.Dir, "bus")
	writeFile(t, filepath.Join(h.Dir, "bus.conf"), fmt.Sprintf(busConfig, sock))
	h.Env = append(h.Env, "DBUS_SESSION_BUS_ADDRESS=unix:path="+sock)
	d := &desktop{t: t, h: h, env: append([]string{"NO_AT_BRIDGE=1", "GSETTINGS_BACKEND=memory"}, h.Env...), log: t.TempDir()}
	d.startBus()
	return d
}

// startBus starts the bus, also once more when the one before was killed.
func (d *desktop) startBus() {
	d.t.Helper()
	d.bus = d.start(exec.Command(e2etest.Need(d.t, "dbus-daemon"), "--config-file="+filepath.Join(d.h.Dir, "bus.conf"), "--nofork"))
	e2etest.WaitFor(d.t, "the bus answers", func() bool { return d.owns("org.freedesktop.DBus") })
}

// display adds a display to the bus.
func (d *desktop) display() {
	d.t.Helper()
	for _, program := range []string{"xdotool", "import"} {
		e2etest.Need(d.t, program)
	}
	r, w, err := os.Pipe()
	if err != nil {
		d.t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.Command(e2etest.Need(d.t, "Xvfb"), "-displayfd", "3", "-screen", "0", "1024x768x24", "-nolisten", "tcp")
	cmd.ExtraFiles = []*os.File{w}
	d.start(cmd)
	w.Close()
	number, err := io.ReadAll(r)
	if err != nil || len(number) == 0 {
		d.t.Fatalf("Xvfb gives no display: %q, %v", number, err)
	}
	d.env = append(d.env, "DISPLAY=:"+strings.TrimSpace(string(number)))
}

func (d *desktop) start(cmd *exec.Cmd) *exec.Cmd {
	d.t.Helper()
	cmd.Env, cmd.Dir = d.env, d.h.Dir
	return background(d.t, cmd)
}

// notifier starts a notification daemon and waits until it owns its name.
func (d *desktop) notifier(program string, args ...string) *exec.Cmd {
	d.t.Helper()
	cmd := d.start(exec.Command(e2etest.Need(d.t, program), args...))
	e2etest.WaitFor(d.t, program+" owns its name", func() bool { return d.owns("org.freedesktop.Notifications") })
	return cmd
}

func (d *desktop) output(name string, args ...string) string {
	cmd := exec.Command(name, args...)
	cmd.Env = d.env
	out, _ := cmd.CombinedOutput()
	return string(out)
}

func (d *desktop) owns(name string) bool {
	return strings.Contains(d.output("gdbus", "call", "--session", "--timeout", "2", "-d", "org.freedesktop.DBus",
		"-o", "/org/freedesktop/DBus", "-m", "org.freedesktop.DBus.NameHasOwner", name), "true")
}

// popup is a notification on the screen.
type popup struct {
	d   *desktop
	img image.Image // of its part of the screen
}

// windows lists the notifications that are visible.
func (d *desktop) windows() []string {
	return strings.Fields(d.output("xdotool", "search", "--onlyvisible", "--class", "notification-daemon"))
}

// popup waits until the one notification is drawn completely: with so many
// buttons, and at rest, for it grows while it is laid out.
func (d *desktop) popup(buttons int) *popup {
	d.t.Helper()
	return d.popupThat(fmt.Sprintf("a notification with %d buttons", buttons), func(p *popup) bool { return len(p.buttons()) == buttons })
}

// popupThat waits until the one notification is as it is described, and at rest.
func (d *desktop) popupThat(what string, is func(*popup) bool) *popup {
	d.t.Helper()
	const atRest = 4 // pictures in a row that are the same
	var last *popup
	same := 0
	e2etest.WaitFor(d.t, what, func() bool {
		ids := d.windows()
		if len(ids) != 1 {
			return false
		}
		p := d.look(ids[0])
		if p == nil || !is(p) {
			same = 0
			return false
		}
		if last == nil || last.img.Bounds() != p.img.Bounds() || !slices.Equal(last.buttons(), p.buttons()) {
			same = 0
		}
		last = p
		same++
		return same == atRest
	})
	return last
}

var geometry = regexp.MustCompile(`(?m)^X=(-?\d+)\nY=(-?\d+)\nWIDTH=(\d+)\nHEIGHT=(\d+)$`)

// look takes the picture of a window. The whole screen is kept for people.
func (d *desktop) look(id string) *popup {
	m := geometry.FindStringSubmatch(d.output("xdotool", "getwindowgeometry", "--shell", id))
	if m == nil {
		return nil
	}
	var n [4]int
	for i := range n {
		n[i], _ = strconv.Atoi(m[i+1])
	}
	name := filepath.Join(d.log, "screen.png")
	d.output("import", "-window", "root", name)
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		return nil
	}
	sub, ok := img.(interface {
		SubImage(image.Rectangle) image.Image
	})
	if !ok {
		return nil
	}
	return &popup{d: d, img: sub.SubImage(image.Rect(n[0], n[1], n[0]+n[2], n[1]+n[3]))}
}

// dark says whether a pixel belongs to text.
func (p *popup) dark(x, y int) bool {
	r, g, b, _ := p.img.At(x, y).RGBA()
	return (r+g+b)/3 < 0x6000
}

// margin is what the frame and its round corners take.
const margin = 24

// buttons returns the middle of each button: the words of the lowest line of
// text, those of one button closer together than the buttons are.
func (p *popup) buttons() []image.Point {
	const between = 14
	b := p.img.Bounds().Inset(margin)
	bottom, top := 0, 0
	for y := b.Max.Y; y > b.Min.Y; y-- {
		text := false
		for x := b.Min.X; x < b.Max.X && !text; x++ {
			text = p.dark(x, y)
		}
		switch {
		case text && bottom == 0:
			bottom, top = y, y
		case text:
			top = y
		case bottom != 0 && bottom-y > 16: // higher than a line
			y = b.Min.Y
		}
	}
	var list []image.Point
	first, last := -1, -1
	for x := b.Min.X; x <= b.Max.X; x++ {
		text := false
		for y := top; y <= bottom && !text; y++ {
			text = p.dark(x, y)
		}
		if text && first < 0 {
			first = x
		}
		if text {
			last = x
		} else if first >= 0 && (x-last > between || x == b.Max.X) {
			list = append(list, image.Pt((first+last)/2, (top+bottom)/2))
			first = -1
		}
	}
	return list
}

// click presses the mouse at a place on the screen.
func (d *desktop) click(at image.Point) {
	d.output("xdotool", "mousemove", "--sync", strconv.Itoa(at.X), strconv.Itoa(at.Y), "click", "1")
}

// turn clicks on a button that opens another page: until that is there the
// notification is gone, and the pointer must not be on the next one's buttons.
func (d *desktop) turn(at image.Point) {
	d.click(at)
	d.output("xdotool", "mousemove", "--sync", "10", "700")
}

// picture keeps a picture of the screen for people who want to look.
func (d *desktop) picture(name string) {
	if dir := os.Getenv("NETJAIL_TEST_PICTURES"); dir != "" {
		d.output("import", "-window", "root", filepath.Join(dir, strings.NewReplacer("/", "-", " ", "-").Replace(name)+".png"))
	}
}

// gone waits until no notification is on the screen.
func (d *desktop) gone() {
	d.t.Helper()
	e2etest.WaitFor(d.t, "the notification goes away", func() bool { return len(d.windows()) == 0 })
}

// keep keeps the last picture where a person finds it, when the test fails.
func (d *desktop) keep() {
	if !d.t.Failed() {
		return
	}
	dir := os.Getenv("NETJAIL_TEST_LOG")
	if dir == "" {
		return
	}
	d.output("import", "-window", "root", filepath.Join(dir, strings.ReplaceAll(d.t.Name(), "/", "-")+".png"))
}

// dunst starts the notification daemon whose buttons are lines of a menu.
func (d *desktop) dunst() *exec.Cmd {
	d.t.Helper()
	e2etest.Need(d.t, "dunstctl")
	menu, config := filepath.Join(d.h.Dir, "menu"), filepath.Join(d.h.Dir, "dunstrc")
	// A line has the label before the headline: "#Deny (curl wants to ...) [3,key]".
	writeFile(d.t, menu, "grep -F -f "+menu+".choice | tee -a "+menu+".chosen\n")
	writeFile(d.t, config, "[global]\n dmenu = /bin/sh "+menu+"\n")
	return d.notifier("dunst", "-config", config)
}

// pick picks the line of dunst's menu that has this label, once it is there.
// Dunst does not open a menu while the last one is being closed.
func (d *desktop) pick(label string) {
	d.t.Helper()
	d.pickLine("#" + label + " (")
}

// pickLine picks the line of dunst's menu that begins like this.
func (d *desktop) pickLine(begin string) {
	d.t.Helper()
	menu := filepath.Join(d.h.Dir, "menu")
	writeFile(d.t, menu+".choice", begin+"\n")
	writeFile(d.t, menu+".chosen", "")
	e2etest.WaitFor(d.t, "a menu with "+begin, func() bool {
		d.output("dunstctl", "context")
		return size(menu+".chosen") > 0
	})
}

func size(name string) int64 {
	fi, err := os.Stat(name)
	if err != nil {
		return 0
	}
	return fi.Size()
}

// displayed waits until dunst shows so many notifications.
func (d *desktop) displayed(n int) {
	d.t.Helper()
	e2etest.WaitFor(d.t, fmt.Sprintf("dunst shows %d notifications", n), func() bool {
		return strings.TrimSpace(d.output("dunstctl", "count", "displayed")) == strconv.Itoa(n)
	})
}
