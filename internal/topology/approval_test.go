package topology

import (
	"reflect"
	"regexp"
	"slices"
	"testing"
	"time"
)

// TestSameApproval changes each field of the rules: all except those listed
// here as rules of something else must separate verdicts.
func TestSameApproval(t *testing.T) {
	elsewhere := []string{"Sealed", "Branches", "Sealer", "Attached", "Lock", "OnPartial", "Ignored", "ReceiptKey", "ReceiptRequired"}
	changed := map[string]any{
		"Kind": Automated, "Environment": "Staging", "MinApprovers": 2, "RequesterCanApprove": true, "AuthorCanApprove": true,
		"Approvers": []string{"a@example.com"}, "MaxAge": time.Hour, "CommentPatterns": []*regexp.Regexp{regexp.MustCompile("CHG")},
		"Code": CodeOfImage, "Checks": []Check{{"1", "Production"}}, "Sealed": true, "Branches": []BranchPattern{{}}, "Sealer": &Sealer{},
		"Attached": []Attached{{ArtifactType: "a/b"}}, "Lock": LockTag, "OnPartial": Warn, "Ignored": []string{"x"}, "ReceiptKey": "k", "ReceiptRequired": true,
	}
	fields := reflect.TypeFor[Rules]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		value, known := changed[name]
		if !known {
			t.Fatalf("Rules.%s is new: list it here if it is not a rule of the approval", name)
		}
		a, b := Rules{Kind: Manual, Environment: "Production"}, Rules{Kind: Manual, Environment: "Production"}
		field := reflect.ValueOf(&b).Elem().Field(i)
		field.Set(reflect.ValueOf(value).Convert(field.Type()))
		if same, want := a.SameApproval(b), slices.Contains(elsewhere, name); same != want {
			t.Errorf("rules that differ in %s: same approval %v, want %v", name, same, want)
		}
	}
}

func TestSameApprovalComparesValues(t *testing.T) {
	base := func() Rules {
		return Rules{Kind: Manual, Environment: "Production", Approvers: []string{"b", "a"}, CommentPatterns: []*regexp.Regexp{regexp.MustCompile("CHG[0-9]+")},
			Checks: []Check{{"1", "Production"}}}
	}
	for _, c := range []struct {
		name   string
		change func(*Rules)
		want   bool
	}{
		{"equal", func(*Rules) {}, true},
		{"the case of the environment", func(t *Rules) { t.Environment = "PRODUCTION" }, true},
		{"the order of approvers", func(t *Rules) { t.Approvers = []string{"a", "b"} }, true},
		{"the same pattern, compiled again", func(t *Rules) { t.CommentPatterns = []*regexp.Regexp{regexp.MustCompile("CHG[0-9]+")} }, true},
		{"another pattern", func(t *Rules) { t.CommentPatterns = []*regexp.Regexp{regexp.MustCompile("CHG[0-9]*")} }, false},
		{"an additional pattern", func(t *Rules) { t.CommentPatterns = append(t.CommentPatterns, regexp.MustCompile("x")) }, false},
		{"another approver", func(t *Rules) { t.Approvers = []string{"a", "c"} }, false},
		{"another check", func(t *Rules) { t.Checks = []Check{{"2", "Production"}} }, false},
		// A key made of text would have to escape its separators.
		{"a separator in a name", func(t *Rules) { t.Environment = "production|0" }, false},
	} {
		other := base()
		c.change(&other)
		if got := base().SameApproval(other); got != c.want {
			t.Errorf("%s: same %v, want %v", c.name, got, c.want)
		}
	}
	none, empty := Rules{Kind: Manual}, Rules{Kind: Manual, Approvers: []string{}, Checks: []Check{}}
	if !none.SameApproval(empty) {
		t.Error("nil and empty lists differ")
	}
}
