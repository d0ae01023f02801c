package desktop

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/godbus/dbus/v5"
)

// message is a signal with that much text in it.
func message(t *testing.T, size int, order binary.ByteOrder) []byte {
	t.Helper()
	msg := &dbus.Message{Type: dbus.TypeSignal, Body: []any{string(bytes.Repeat([]byte("x"), size))}, Headers: map[dbus.HeaderField]dbus.Variant{
		dbus.FieldInterface: dbus.MakeVariant(service),
		dbus.FieldMember:    dbus.MakeVariant("ActionInvoked"),
		dbus.FieldPath:      dbus.MakeVariant(path),
		dbus.FieldSignature: dbus.MakeVariant(dbus.SignatureOf("")),
	}}
	var b bytes.Buffer
	if err := msg.EncodeTo(&b, order); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// pipe returns a wire past its authentication, and the other end.
func pipe(t *testing.T) (*wire, net.Conn) {
	t.Helper()
	ours, theirs := net.Pipe()
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	w := newWire(ours)
	w.framed = true
	return w, theirs
}

// TestWireWhole: messages come through as they are, and one that is too long
// is left out.
func TestWireWhole(t *testing.T) {
	w, bus := pipe(t)
	a, b := message(t, 3, binary.LittleEndian), message(t, 1000, binary.BigEndian)
	go func() {
		for _, msg := range [][]byte{a, message(t, maxMessage, binary.LittleEndian), b} {
			bus.Write(msg)
		}
		bus.Close()
	}()
	got, err := io.ReadAll(w)
	if err != nil || !bytes.Equal(got, append(a, b...)) {
		t.Errorf("got %d bytes, %v, want the two short messages, %d bytes", len(got), err, len(a)+len(b))
	}
}

// TestWireCut: a connection that ends inside a message, wherever, is an error
// and not half a message, on which godbus panics.
func TestWireCut(t *testing.T) {
	msg := message(t, 3, binary.LittleEndian)
	for n := range msg {
		w, bus := pipe(t)
		go func() {
			bus.Write(msg[:n])
			bus.Close()
		}()
		got, err := io.ReadAll(w)
		if len(got) != 0 || (n > 0) != errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: got %d bytes, %v", n, len(got), err)
		}
	}
	w, bus := pipe(t)
	go bus.Write(bytes.Repeat([]byte("?"), fixedHeader))
	if _, err := io.ReadAll(w); err == nil {
		t.Error("unknown byte order: got no error")
	}
}

// TestWireWriteFails: after a failed write nothing can follow.
func TestWireWriteFails(t *testing.T) {
	w, bus := pipe(t)
	bus.Close()
	if _, err := w.Write([]byte("x")); err == nil {
		t.Error("got no error")
	}
	if _, err := w.Read(make([]byte, 1)); err == nil {
		t.Error("read after a failed write: got no error")
	}
}
