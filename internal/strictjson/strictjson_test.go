package strictjson

import (
	"strings"
	"testing"
)

func TestCheckObject(t *testing.T) {
	for _, c := range []struct{ name, content, why string }{
		{"an object", `{"a":1,"b":{"a":[{"a":2},{"a":3}]}}`, ""},
		{"space around it", " \n{}\n", ""},
		{"a name twice", `{"a":1,"a":1}`, `"a" twice`},
		{"in other case", `{"a":1,"A":1}`, `"a" twice`},
		{"escaped", `{"a":1,"\u0061":1}`, `"a" twice`},
		{"in letters that fold", `{"s":1,"\u017f":1}`, `"s" twice`},
		{"below", `{"a":[0,{"b":1,"b":2}]}`, `"b" twice`},
		{"as deep as allowed", `{"a":[[[0]]]}`, ""},
		{"too deep", `{"a":[[[[0]]]]}`, "one valid"},
		{"a second object", `{}{}`, "one valid"},
		{"cut off", `{"a":`, "one valid"},
		{"a list", `[]`, "one valid"},
		{"nothing", ``, "one valid"},
		{"null", `null`, "one valid"},
		{"invalid UTF-8", "{\"a\":\"\xff\"}", "one valid"},
		{"a byte order mark", "\ufeff{}", "one valid"},
	} {
		err := CheckObject("record", []byte(c.content), 4)
		if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), "the record ") || err != nil && !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want an error with %q", c.name, err, c.why)
		}
	}
}
