package topology

import (
	"fmt"
	"testing"
)

// TestSourceNames checks that SourceNames is the reverse of Names.
func TestSourceNames(t *testing.T) {
	for _, c := range []struct{ repository, tag string }{
		{"", ""}, {"released/{repository}", ""}, {"{repository}/released", "{tag}-ok"}, {"a/{repository}/b/{repository}", "v{tag}.{tag}"}, {"", "{tag}"},
	} {
		f := &Flow{Name: "f", As: As{Repository: RepositoryTemplate(c.repository), Tag: TagTemplate(c.tag)}}
		for _, repository := range []string{"a", "cart", "shop/cart", "released", "released/released", "a/b"} {
			for _, tag := range []string{"1", "1.0", "ok", "ok-ok", "v1"} {
				atRepository, atTag, err := f.Names(repository, tag)
				if err != nil {
					t.Fatal(err)
				}
				gotRepository, gotTag, ok := f.SourceNames(atRepository, atTag)
				if !ok || gotRepository != repository || gotTag != tag {
					t.Errorf("%v: %s:%s has the names %s:%s, and these are of %s:%s (%v)", c, repository, tag, atRepository, atTag, gotRepository, gotTag, ok)
				}
			}
		}
	}
	f := &Flow{Name: "f", As: As{Repository: "released/{repository}/x/{repository}", Tag: "{tag}-ok"}}
	one := &Flow{Name: "one", As: As{Repository: "released"}}
	one.Repositories = make(Repositories, 1)
	if err := one.Repositories[0].read("shop/cart"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flow            *Flow
		repository, tag string
		want            string
	}{
		{f, "released/a/x/a", "1-ok", "a:1 true"}, {f, "released/a/x/b", "1-ok", " false"}, {f, "released", "1-ok", " false"}, {f, "", "", " false"},
		{f, "released/a/x/a", "1", "a: false"}, {f, "released/a/x/a", "-ok", "a: false"}, {f, "other/a/x/a", "1-ok", " false"},
		{one, "released", "1", "shop/cart:1 true"}, {one, "shop/cart", "1", " false"},
	} {
		repository, tag, ok := c.flow.SourceNames(c.repository, c.tag)
		got := fmt.Sprint(" ", ok)
		if repository != "" {
			got = fmt.Sprintf("%s:%s %v", repository, tag, ok)
		}
		if !ok && repository == "" {
			got = " false"
		}
		if got != c.want {
			t.Errorf("%s, %s:%s: %q, want %q", c.flow.Name, c.repository, c.tag, got, c.want)
		}
	}
}
