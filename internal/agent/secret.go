package agent

import "fmt"

// Secret is a value that must never be shown. Printing or encoding it gives a
// placeholder; Reveal is for the one place that sends it.
type Secret string

const hidden = "***"

// Reveal returns the value itself.
func (s Secret) Reveal() string { return string(s) }

// Empty reports whether there is no value.
func (s Secret) Empty() bool { return s == "" }

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString prevents %#v from showing the value.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// Format prevents every verb, such as %x and %d, from showing the value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalJSON keeps the value out of JSON.
func (s Secret) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, "%q", s.String()), nil }
