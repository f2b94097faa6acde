package agent

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

type taskInput struct {
	Name         string            `json:"name"`
	Type         string            `json:"type"`
	DefaultValue *string           `json:"defaultValue"`
	Required     bool              `json:"required"`
	Options      map[string]string `json:"options"`
	VisibleRule  string            `json:"visibleRule"`
	HelpMarkDown string            `json:"helpMarkDown"`
	GroupName    string            `json:"groupName"`
}

// TestTaskJSON checks that the inputs in task.json are those of the table.
func TestTaskJSON(t *testing.T) {
	data, err := os.ReadFile(filepath.Join("..", "..", "task", "task.json"))
	if err != nil {
		t.Fatal(err)
	}
	var task struct {
		Inputs []taskInput `json:"inputs"`
	}
	if err := json.Unmarshal(data, &task); err != nil {
		t.Fatal(err)
	}
	var names, want []string
	for _, in := range task.Inputs {
		names = append(names, in.Name)
	}
	for _, in := range Inputs {
		if !in.FlagOnly {
			want = append(want, in.Name)
		}
	}
	if !slices.Equal(names, want) {
		t.Fatalf("task.json has the inputs\n%v\nand the program\n%v", names, want)
	}
	for _, shown := range task.Inputs {
		in, _ := inputNamed(shown.Name)
		// The agent passes a default like a given value. Therefore only inputs that
		// no flow sets and every action uses may have one, and it must be the same.
		if shown.DefaultValue != nil && (*shown.DefaultValue != in.Default || !slices.Equal(in.Actions, Actions)) {
			t.Errorf("%s: task.json says the default is %q, the program %q", in.Name, *shown.DefaultValue, in.Default)
		}
		if in.Type == Boolean && shown.Type == "boolean" && shown.DefaultValue == nil {
			t.Errorf("%s: the form of a boolean always sends a value, so it needs the default", in.Name)
		}
		if !strings.HasPrefix(shown.HelpMarkDown, in.Help) {
			t.Errorf("%s: the help in task.json is\n%s\nand that of the program is\n%s", in.Name, shown.HelpMarkDown, in.Help)
		}
		if types := formTypes(in); !slices.Contains(types, shown.Type) {
			t.Errorf("%s: task.json has the type %s, and it should be one of %v", in.Name, shown.Type, types)
		}
		if shown.Type == "pickList" && in.Name != "targets" {
			checkOptions(t, shown, in)
		}
		checkRule(t, shown, in)
	}
}

// formTypes returns the types that an input may have in the task's form. No path
// is a filePath: the agent replaces an empty one by the sources folder.
func formTypes(in Input) []string {
	switch in.Type {
	case Lines:
		if in.Name == "targets" { // with the picker of registries
			return []string{"pickList"}
		}
		return []string{"multiLine"}
	case Boolean:
		return []string{"boolean", "pickList"}
	case Pick:
		return []string{"pickList"}
	case ARM, DockerLines:
		return []string{string(in.Type)}
	}
	return []string{"string"}
}

func checkOptions(t *testing.T, shown taskInput, in Input) {
	t.Helper()
	want := slices.Clone(in.Picks)
	if in.Type == Boolean {
		want = []string{"true", "false"}
	}
	if !shown.Required {
		want = append(want, "")
	}
	var got []string
	for value := range shown.Options {
		got = append(got, value)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%s: task.json offers %q, the program accepts %q", in.Name, got, want)
	}
}

// checkRule checks that the form shows an input for exactly the actions that use
// it.
func checkRule(t *testing.T, shown taskInput, in Input) {
	t.Helper()
	for _, action := range TaskActions {
		visible := shown.VisibleRule == ""
		for alternative := range strings.SplitSeq(shown.VisibleRule, " || ") {
			all := alternative != ""
			for part := range strings.SplitSeq(alternative, " && ") {
				name, not := strings.CutPrefix(part, "action != ")
				all = all && (part == "action = "+action || not && name != action)
			}
			visible = visible || all
		}
		if visible != (in.UsedBy(action) || in.Name == "action") {
			t.Errorf("%s: visible for %s is %v in task.json, and the program says %v", in.Name, action, visible, in.UsedBy(action))
		}
	}
}
