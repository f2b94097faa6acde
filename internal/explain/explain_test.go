package explain

import "testing"

func TestText(t *testing.T) {
	for _, c := range []struct{ reason, remedy, want string }{
		{"it is locked", "Unlock it", "it is locked. Unlock it"},
		{"it said “no.”.", "Ask again", "it said “no.”. Ask again"},
		{"it is locked.", "", "it is locked."},
		{"", "", ""},
	} {
		if got := Text(c.reason, c.remedy); got != c.want {
			t.Errorf("Text(%q, %q) = %q, want %q", c.reason, c.remedy, got, c.want)
		}
	}
}
