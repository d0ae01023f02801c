package tui

// event is what happens to a model.
type event interface{ isEvent() }

// What comes from the terminal.
type (
	pressed struct{ key string } // a character, or a name: Enter, PgUp, Ctrl-C ...
	pasted  struct{ text string }
	clicked struct{ x, y int }
	wheeled struct{ lines int }
	resized struct{ width, height int }
	ticked  struct{} // once a second
	drawn   struct{ frame frame }
)

// What comes from the source.
type (
	connected struct{}
	lost      struct{ err error }
	changed   struct{ Change }
	looked    struct {
		view     View
		contents Contents
		err      error
	}
	done struct {
		question string // that was answered, or ""
		said     string
		err      error
	}
)

func (pressed) isEvent()   {}
func (pasted) isEvent()    {}
func (clicked) isEvent()   {}
func (wheeled) isEvent()   {}
func (resized) isEvent()   {}
func (ticked) isEvent()    {}
func (drawn) isEvent()     {}
func (connected) isEvent() {}
func (lost) isEvent()      {}
func (changed) isEvent()   {}
func (looked) isEvent()    {}
func (done) isEvent()      {}

// command is what a model wants done.
type command interface{ isCommand() }

// To the terminal.
type (
	quit    struct{}
	suspend struct{}
	redraw  struct{}
)

// To the source.
type (
	look   struct{ view View }
	answer struct{ Decision }
	end    struct{ Flow }
	stop   struct{ Jail }
	remove struct{ Rule }
)

func (quit) isCommand()    {}
func (suspend) isCommand() {}
func (redraw) isCommand()  {}
func (look) isCommand()    {}
func (answer) isCommand()  {}
func (end) isCommand()     {}
func (stop) isCommand()    {}
func (remove) isCommand()  {}
