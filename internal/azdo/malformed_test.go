package azdo_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"

	"acrpromote/internal/approval"
	"acrpromote/internal/azdo"
)

// TestEveryNodeReplaced replaces and removes every value of every document. A
// grant requires a document that still has everything it needs.
func TestEveryNodeReplaced(t *testing.T) {
	for _, name := range []string{"build", "timeline", "approvals", "suite", "checks", "token", "release"} {
		d, releaseClaims := newRelease(t)
		claims := d.claims()
		if name == "release" {
			claims = releaseClaims
		}
		replacements := []any{nil, "x", list{}, json.Number("0")}
		if name == "timeline" || name == "release" { // the large ones
			replacements = replacements[:2]
		}
		target := d.documents()[name]
		original, err := json.Marshal(*target)
		if err != nil {
			t.Fatal(err)
		}
		client := &http.Client{Transport: handlerTransport{d}}
		tried, granted := 0, 0
		try := func(document any, what string) {
			raw, err := json.Marshal(document)
			if err != nil {
				t.Fatal(err)
			}
			*target = string(raw)
			s, err := azdo.New(client, claims, jobToken)
			if err != nil {
				t.Fatal(err)
			}
			tried++
			e, err := s.Evidence(context.Background(), azdo.Query{Environment: "Production"})
			if err != nil {
				t.Fatalf("%s: %s: %v", name, what, err)
			}
			v := approval.Judge(e, approval.Rules{Environment: "Production", AuthorCanApprove: true}, day.Add(12*hour))
			if v.Granted != (len(v.Refusals) == 0) {
				t.Errorf("%s: %s: granted %v with %d refusals", name, what, v.Granted, len(v.Refusals))
			}
			if !v.Granted {
				return
			}
			if granted++; !required[name](parse(raw)) {
				t.Errorf("%s: %s: granted", name, what)
			}
		}
		// Each path is changed in its own copy.
		var walk func(node any, path string, put func(root any, value any, drop bool) any)
		walk = func(node any, path string, put func(any, any, bool) any) {
			for _, value := range replacements {
				try(put(parse(original), value, false), fmt.Sprintf("%s = %v", path, value))
			}
			switch node := node.(type) {
			case map[string]any:
				for key, child := range node {
					into := func(root, value any, drop bool) any {
						return replaceAt(root, path, func(parent any) any {
							if drop {
								delete(parent.(map[string]any), key)
							} else {
								parent.(map[string]any)[key] = value
							}
							return parent
						})
					}
					try(into(parse(original), nil, true), path+"/"+key+" gone")
					walk(child, path+"/"+key, into)
				}
			case []any:
				for i, child := range node {
					into := func(root, value any, drop bool) any {
						return replaceAt(root, path, func(parent any) any {
							items := parent.([]any)
							if drop {
								return append(items[:i:i], items[i+1:]...)
							}
							items[i] = value
							return items
						})
					}
					at := fmt.Sprintf("%s/%d", path, i)
					try(into(parse(original), nil, true), at+" gone")
					try(replaceAt(parse(original), path, func(parent any) any { return append(parent.([]any), parent.([]any)[i]) }), at+" twice")
					walk(child, at, into)
				}
			}
		}
		walk(parse(original), "", func(_ any, value any, _ bool) any { return value })
		t.Logf("%s: %d tried, %d granted", name, tried, granted)
		if granted == tried || granted == 0 && name != "token" { // a token is one value
			t.Errorf("%s: %d of %d granted: only one result is tested", name, granted, tried)
		}
	}
}

// replaceAt replaces the node at path with the result of change.
func replaceAt(root any, path string, change func(any) any) any {
	if path == "" {
		return change(root)
	}
	name, rest := path[1:], ""
	for i := range name {
		if name[i] == '/' {
			name, rest = name[:i], name[i:]
			break
		}
	}
	switch node := root.(type) {
	case map[string]any:
		node[name] = replaceAt(node[name], rest, change)
	case []any:
		var i int
		if _, err := fmt.Sscan(name, &i); err != nil {
			panic(err)
		}
		node[i] = replaceAt(node[i], rest, change)
	}
	return root
}
