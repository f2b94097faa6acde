package azdo

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	"golang.org/x/sync/semaphore"
)

func TestDecode(t *testing.T) {
	many := func(n int) string {
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf(`"n%d":1`, i))
		}
		return "{" + strings.Join(names, ",") + "}"
	}
	for body, ok := range map[string]bool{
		`{}`: true, ` {} `: true, "\xef\xbb\xbf{}": true, `{"a":{"a":{"a":[{"a":1},{"a":2}]}},"b":"a","c":["a","a"]}`: true,
		`{"a\"b":1,"a\\":"\\","b":"\""}`: true, `{"a":"b:","c":"{\"a\":1,\"a\":2}"}`: true, `{"a":[],"b":{},"c":{"a":1}}`: true,
		many(maxNames): true,
		``:             false, `null`: false, `[]`: false, `"x"`: false, `1`: false, `{`: false, `{"a":1`: false, `{"a":1}x`: false, `{}{}`: false,
		`{"a":1,"a":1}`: false, `{"a":1,"A":1}`: false, `{"a":1,"\u0061":1}`: false, `{"b":[{"a":1,"c":{"x":1},"a" : 2}]}`: false,
		`{"a":{"b":1},"c":{},"a":3}`: false, `{"a":1,"a"` + strings.Repeat(" ", 500) + `:1}`: false, `{"k":1,"` + "\u212a" + `":1}`: false,
		many(maxNames + 1): false,
	} {
		var v map[string]json.RawMessage
		if err := decode([]byte(body), &v); (err == nil) != ok {
			t.Errorf("%.60s: %v", body, err)
		}
	}
}

// FuzzUniqueNames checks that uniqueNames does not read out of bounds, and accepts
// objects whose names differ for the standard decoder.
func FuzzUniqueNames(f *testing.F) {
	f.Add([]byte(`{"a":{"b":"\\\"","c":[{"d":1}]},"A ":2}`))
	f.Add([]byte(`{"a":1,"\u0041":2}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var flat map[string]json.RawMessage
		if json.Unmarshal(raw, &flat) != nil || flat == nil {
			return
		}
		err := uniqueNames(raw)
		for _, value := range flat {
			if len(value) > 0 && (value[0] == '{' || value[0] == '[') {
				return
			}
		}
		names := map[string]bool{}
		folded := false
		for name := range flat {
			for other := range names {
				folded = folded || strings.EqualFold(other, name)
			}
			names[name] = true
		}
		if folded && err == nil {
			t.Errorf("two names that differ only in case: %q", raw)
		}
	})
}

func TestNumber(t *testing.T) {
	for raw, want := range map[string]number{
		`4711`: {4711, true}, `"4711"`: {4711, true}, `null`: {}, `0`: {0, true},
	} {
		var n number
		if err := json.Unmarshal([]byte(raw), &n); err != nil || n != want {
			t.Errorf("%s: %+v %v", raw, n, err)
		}
	}
	for _, raw := range []string{`true`, `4.7`, `"x"`, `""`, `{}`, `[1]`, `1e3`, `99999999999999999999`} {
		var n number
		if json.Unmarshal([]byte(raw), &n) == nil {
			t.Errorf("%s is decoded as %+v", raw, n)
		}
	}
}

func TestGroups(t *testing.T) {
	for _, c := range []struct {
		identity identity
		group    bool
	}{
		{identity{Descriptor: "aad.Bob", UniqueName: "bob@example.com"}, false},
		{identity{IsContainer: true}, true},
		{identity{Descriptor: "vssgp.Uy0x"}, true},
		{identity{Descriptor: "aadgp.Uy0x"}, true},
		{identity{Descriptor: "Microsoft.TeamFoundation.Identity;S-1-9-1"}, true},
		{identity{UniqueName: `vstfs:///Classification/TeamProject/1\Release Managers`}, true},
		{identity{UniqueName: `[Shop]\Release Managers`}, true},
		{identity{DisplayName: `[Shop]\Release Managers`, UniqueName: "bob@example.com"}, false},
	} {
		if got := c.identity.person().Group; got != c.group {
			t.Errorf("%+v: group %v", c.identity, got)
		}
	}
}

// TestLimitedBody reads documents that take a multiple of their size once they are
// decoded, in pieces of every size.
func TestLimitedBody(t *testing.T) {
	for _, c := range []struct{ name, document, tells string }{
		{"small", `{"a":[{},{}],"b":"{{{"}`, ""},
		{"as many objects as are taken", `{"a":[` + strings.Repeat("{},", maxObjects-2) + `{}]}`, ""},
		{"more objects", `{"a":[` + strings.Repeat("{},", maxObjects-1) + `{}]}`, "more than 50000 objects"},
		{"more values", `{"a":[` + strings.Repeat("0,", maxValues) + `0]}`, "more than 500000 values"},
		{"more lists", `{"a":` + strings.Repeat("[", maxValues+1), "more than 500000 values"},
		{"more names", `{` + strings.Repeat(`"a":0,`, maxValues+1), "more than 500000 values"},
		{"marks in a text", `{"a":"` + strings.Repeat(`{,[\"`, maxValues) + `"}`, ""},
		{"as long as is taken", strings.Repeat("1", maxBody-1), ""},
		{"longer", strings.Repeat("1", maxBody+1), "longer than 16 MiB"},
	} {
		for _, piece := range []int{7, 1 << 16} {
			large := semaphore.NewWeighted(1)
			b := &limitedBody{body: io.NopCloser(strings.NewReader(c.document)), ctx: t.Context(), large: large}
			n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{b}, make([]byte, piece))
			switch {
			case c.tells == "" && (err != nil || n != int64(len(c.document))):
				t.Errorf("%s: %d bytes, error %v", c.name, n, err)
			case c.tells != "" && (err == nil || !strings.Contains(err.Error(), c.tells)):
				t.Errorf("%s: error %v, want %q", c.name, err, c.tells)
			}
			if n > largeBody && large.TryAcquire(1) {
				t.Errorf("%s: another large body can be read at the same time", c.name)
			}
			b.Close()
			if !large.TryAcquire(1) {
				t.Errorf("%s: no large body can be read after it", c.name)
			}
		}
	}
}
