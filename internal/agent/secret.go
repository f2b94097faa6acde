package agent

import "fmt"

// Secret is a value that must never be shown. Whatever prints or encodes it
// shows a placeholder; Reveal is for the one place that sends it.
type Secret string

const hidden = "***"

// Reveal gives the value itself.
func (s Secret) Reveal() string { return string(s) }

// Empty tells whether there is no value.
func (s Secret) Empty() bool { return s == "" }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString keeps %#v from showing the value.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// Format keeps every verb, %x and %d among them, from showing the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalJSON keeps the value out of JSON.
func (s Secret) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", s.String()), nil }
