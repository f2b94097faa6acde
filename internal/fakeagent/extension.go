// Package fakeagent is an agent of Azure Pipelines for tests and the demo: it
// takes a job from the simulated Azure DevOps and sets a step's environment up,
// starts a program, or node on a task's launcher, reads logging commands as the
// agent reads them, and cancels as the agent cancels. It is written from the
// agent's public behaviour, knows nothing of the program, and imports nothing
// but the simulators.
package fakeagent

import (
	"archive/zip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Extension is a VSIX, unpacked.
type Extension struct {
	Folder string
	tasks  map[string]*Task
}

// contributions are the part of the VSIX's own manifest that names its tasks.
type contributions struct {
	Contributions []struct {
		Type       string `json:"type"`
		Properties struct {
			Name string `json:"name"`
		} `json:"properties"`
	} `json:"contributions"`
}

// Unpack writes the files of a VSIX into a folder, none of them executable: the
// format keeps no such bit. It returns the extension with its tasks.
func Unpack(vsix, into string) (*Extension, error) {
	archive, err := zip.OpenReader(vsix)
	if err != nil {
		return nil, fmt.Errorf("opening the extension: %w", err)
	}
	defer archive.Close()
	for _, f := range archive.File {
		if err := unpackFile(f, into); err != nil {
			return nil, fmt.Errorf("unpacking %s: %w", f.Name, err)
		}
	}
	var manifest contributions
	if err := readJSON(filepath.Join(into, "extension.vsomanifest"), &manifest); err != nil {
		return nil, err
	}
	e := &Extension{Folder: into, tasks: map[string]*Task{}}
	for _, c := range manifest.Contributions {
		if c.Type != "ms.vss-distributed-task.task" {
			continue
		}
		t, err := readTask(filepath.Join(into, c.Properties.Name))
		if err != nil {
			return nil, err
		}
		e.tasks[t.Name] = t
	}
	return e, nil
}

func unpackFile(f *zip.File, into string) error {
	if !filepath.IsLocal(f.Name) {
		return errors.New("its name leads out of the folder")
	}
	file := filepath.Join(into, filepath.FromSlash(f.Name))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	from, err := f.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := io.Copy(to, from); err != nil {
		to.Close()
		return err
	}
	return to.Close()
}

func readJSON(file string, into any) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

// Tasks names the tasks of the extension, sorted.
func (e *Extension) Tasks() []string { return slices.Sorted(maps.Keys(e.tasks)) }

// Task is the task of a name, nil if there is none.
func (e *Extension) Task(name string) *Task { return e.tasks[name] }

// Task is what the agent takes from a task's task.json.
type Task struct {
	Folder string
	Name   string
	// Settable lists the variables that the task may set; nil is all.
	Settable []string
	// Handlers map how the task may be run ("Node20_1") to the file to run.
	Handlers map[string]string

	defaults map[string]string // by the name of the input
}

func readTask(folder string) (*Task, error) {
	var definition struct {
		Name   string `json:"name"`
		Inputs []struct {
			Name         string `json:"name"`
			DefaultValue string `json:"defaultValue"`
		} `json:"inputs"`
		Execution    map[string]json.RawMessage `json:"execution"`
		Restrictions *struct {
			SettableVariables *struct {
				Allowed []string `json:"allowed"`
			} `json:"settableVariables"`
		} `json:"restrictions"`
	}
	if err := readJSON(filepath.Join(folder, "task.json"), &definition); err != nil {
		return nil, err
	}
	t := &Task{Folder: folder, Name: definition.Name, Handlers: map[string]string{}, defaults: map[string]string{}}
	for _, in := range definition.Inputs {
		t.defaults[in.Name] = in.DefaultValue
	}
	if r := definition.Restrictions; r != nil && r.SettableVariables != nil {
		t.Settable = append([]string{}, r.SettableVariables.Allowed...)
	}
	for name, execution := range definition.Execution {
		var handler struct {
			Target string `json:"target"`
		}
		if err := json.Unmarshal(execution, &handler); err != nil {
			return nil, fmt.Errorf("task %s, execution %s: %w", t.Name, name, err)
		}
		t.Handlers[name] = handler.Target
	}
	return t, nil
}

// withDefaults adds the inputs that the pipeline did not give: the agent sends
// every input that task.json has, with its default or empty.
func (t *Task) withDefaults(environ []string) []string {
	environ = slices.Clone(environ)
	for _, name := range slices.Sorted(maps.Keys(t.defaults)) {
		variable := "INPUT_" + variableName(name) + "="
		if !slices.ContainsFunc(environ, func(v string) bool { return strings.HasPrefix(v, variable) }) {
			environ = append(environ, variable+t.defaults[name])
		}
	}
	return environ
}
