package acr

import (
	"fmt"
	"testing"
)

// TestWithholds: only a readable list of what was granted says that something was
// not, and only for what the token was requested for.
func TestWithholds(t *testing.T) {
	needs := access{"shop/cart": {"pull", "metadata_read"}}
	granted := func(access string) token {
		return token{text: "e30." + encode(fmt.Sprintf(`{"access":%s}`, access)) + ".c2ln"}
	}
	pull := granted(`[{"type":"repository","name":"shop/cart","actions":["pull"]}]`)
	both := granted(`[{"type":"repository","name":"shop/cart","actions":["pull"]},{"type":"repository","name":"shop/cart","actions":["metadata_read"]}]`)
	list, read := access{"shop/cart": {"metadata_read"}}, access{"shop/cart": {"pull"}}
	for name, c := range map[string]struct {
		token token
		want  access
		is    bool
	}{
		"not granted":            {pull, list, true},
		"granted":                {pull, read, false},
		"granted in two entries": {both, list, false},
		"nothing granted":        {granted(`[]`), read, true},
		"never requested":        {pull, access{"shop/cart": {"push"}}, false},
		"another repository":     {pull, access{"shop/web": {"pull"}}, false},
		"no list":                {granted(`null`), list, false},
		"a list of another form": {granted(`{"a":1}`), list, false},
		"no claims":              {token{text: "opaque"}, list, false},
		"nothing needed":         {pull, nil, false},
		"all actions":            {granted(`[{"type":"repository","name":"shop/cart","actions":["*"]}]`), list, false},
		"a registry's right":     {granted(`[{"type":"registry","name":"catalog","actions":["*"]}]`), read, true},
	} {
		if got := c.token.withholds(needs, c.want); got != c.is {
			t.Errorf("%s: %t, want %t", name, got, c.is)
		}
	}
}
