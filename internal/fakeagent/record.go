package fakeagent

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"acrpromote/internal/sim"
)

// results are the agent's, each worse than the one before.
var results = []string{"Succeeded", "SucceededWithIssues", "Failed", "Canceled", "Skipped", "Abandoned"}

// merge is how the agent makes one result of two: the worse one, and nothing
// changes what is worse than Failed.
func merge(current, coming string) string {
	have := slices.Index(results, current)
	if have > slices.Index(results, "Failed") || slices.Index(results, coming) < have {
		return current
	}
	return coming
}

// Variable is one that the task has set.
type Variable struct {
	Value          string
	Output, Secret bool
}

// Attachment is a file that the task has handed over, with its content at that
// time.
type Attachment struct {
	Type, Name, Content string
}

// Artifact is what the task has handed over to be published with the run: the content
// of a file, or of the files in a folder, by their paths in it.
type Artifact struct {
	Name  string
	Files map[string]string
}

// Record is what a step leaves behind on the server.
type Record struct {
	Result      string
	Completions []string // what each task.complete said: "Failed: why"
	Lines       []string // all, as they were written
	Log         []string // lines that are no commands
	Debug       []string
	Warnings    []string // also the agent's own
	Errors      []string // also the agent's own
	Variables   map[string]Variable
	Secrets     []string
	Attachments []Attachment
	Artifacts   []Artifact
	Tests       []string // contents of files of test results that were published
}

// Summary is the Markdown that stands on the run's page.
func (r *Record) Summary() string {
	var parts []string
	for _, a := range r.Attachments {
		if a.Type == summaryType {
			parts = append(parts, a.Content)
		}
	}
	return strings.Join(parts, "\n")
}

const summaryType = "DistributedTask.Core.Summary"

// reader takes the lines of both streams, one at a time.
type reader struct {
	record   Record
	settable []string
	environ  []string // of the step, as the agent has set it up
}

func newReader(settable, environ []string) *reader {
	return &reader{settable: settable, environ: environ, record: Record{Variables: map[string]Variable{}}}
}

func (r *reader) line(line string) {
	r.record.Lines = append(r.record.Lines, line)
	command, found := ParseCommand(line)
	if !found {
		if strings.Contains(line, "##vso") {
			r.warn("the line looks like a command and is none: " + line)
		}
		r.record.Log = append(r.record.Log, line)
		return
	}
	switch strings.ToLower(command.Area) {
	case "task":
	case "results":
		if err := r.publish(command); err != nil {
			r.failCommand(line, err.Error())
		}
		return
	case "artifact":
		if err := r.upload(command); err != nil {
			r.failCommand(line, err.Error())
		}
		return
	case "build", "release", "telemetry":
		// Their effects on the run are nothing that a step of ours may have.
		r.failCommand(line, "the fake agent does not execute commands of this area")
		return
	default:
		r.warn("no such area of commands: " + command.Area)
		return
	}
	if err := r.execute(command); err != nil {
		r.failCommand(line, err.Error())
	}
}

func (r *reader) warn(text string) { r.record.Warnings = append(r.record.Warnings, text) }

// failCommand is what the agent does where a command fails: the task fails.
func (r *reader) failCommand(line, why string) {
	r.record.Errors = append(r.record.Errors, fmt.Sprintf("the command %q could not be executed: %s", line, why))
	r.fail()
}

func (r *reader) fail() { r.record.Result = merge(r.record.Result, "Failed") }

func (r *reader) execute(c Command) error {
	switch strings.ToLower(c.Event) {
	case "complete":
		result := c.Properties["result"]
		if !slices.Contains(results, result) {
			return fmt.Errorf("%q is no result", result)
		}
		r.record.Result = merge(r.record.Result, result)
		r.record.Completions = append(r.record.Completions, result+": "+c.Data)
	case "logissue", "issue":
		switch strings.ToLower(c.Properties["type"]) {
		case "error":
			r.record.Errors = append(r.record.Errors, c.Data)
		case "warning":
			r.record.Warnings = append(r.record.Warnings, c.Data)
		case "":
			r.warn("an issue without a type")
		default:
			return fmt.Errorf("%q is no type of issue", c.Properties["type"])
		}
	case "setvariable":
		return r.setVariable(c)
	case "setsecret":
		r.record.Secrets = append(r.record.Secrets, c.Data)
	case "debug":
		r.record.Debug = append(r.record.Debug, c.Data)
	case "setprogress":
	case "uploadsummary":
		return r.attach(summaryType, filepath.Base(c.Data), c.Data)
	case "uploadfile":
		return r.attach("DistributedTask.Core.FileAttachment", filepath.Base(c.Data), c.Data)
	case "addattachment":
		a, err := c.Attachment()
		if err == nil {
			r.record.Attachments = append(r.record.Attachments, a)
		}
		return err
	default:
		return fmt.Errorf("there is no command task.%s", c.Event)
	}
	return nil
}

func (r *reader) setVariable(c Command) error {
	name := c.Properties["variable"]
	if name == "" {
		return fmt.Errorf("the variable has no name")
	}
	if r.settable != nil && !slices.ContainsFunc(r.settable, func(allowed string) bool { return strings.EqualFold(allowed, name) }) {
		r.warn("the task may not set the variable " + name)
		return nil
	}
	is := func(property string) bool { return strings.EqualFold(c.Properties[property], "true") }
	r.record.Variables[name] = Variable{Value: c.Data, Output: is("isoutput"), Secret: is("issecret")}
	return nil
}

// Attachment returns what task.addattachment attaches (TaskCommandExtension.cs). An
// agent on Windows allows the fewest characters.
func (c Command) Attachment() (Attachment, error) {
	a := Attachment{Type: c.Properties["type"], Name: c.Properties["name"]}
	if !sim.ValidName(a.Type) || !sim.ValidName(a.Name) {
		return a, fmt.Errorf("%q and %q are no type and name of an attachment", a.Type, a.Name)
	}
	content, err := os.ReadFile(c.Data)
	if err != nil {
		return a, fmt.Errorf("there is no file to attach: %w", err)
	}
	a.Content = string(content)
	return a, nil
}

// Artifact returns what artifact.upload publishes from a job with this environment
// (ArtifactCommandExtension.cs). Without files there is only a warning, and no artifact.
func (c Command) Artifact(environ []string) (Artifact, error) {
	a := Artifact{Name: c.Properties["artifactname"], Files: map[string]string{}}
	switch {
	case !strings.EqualFold(c.Event, "upload"):
		return a, fmt.Errorf("the fake agent does not execute artifact.%s", c.Event)
	case !slices.Contains(environ, "SYSTEM_HOSTTYPE=build"):
		return a, fmt.Errorf("only a build has artifacts of its own")
	case !slices.ContainsFunc(environ, func(v string) bool { return strings.HasPrefix(v, "BUILD_CONTAINERID=") }):
		return a, fmt.Errorf("the build has no container")
	case !sim.ValidName(a.Name):
		return a, fmt.Errorf("%q is no name of an artifact", a.Name)
	case c.Properties["containerfolder"] != "" && c.Properties["containerfolder"] != a.Name:
		// The agent accepts others. Tasks that download artifacts then mix them up.
		return a, fmt.Errorf("the folder %q is not the artifact %q", c.Properties["containerfolder"], a.Name)
	}
	err := filepath.WalkDir(c.Data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(c.Data, path)
		if name == "." { // not a folder
			name = filepath.Base(path)
		}
		a.Files[filepath.ToSlash(name)] = string(content)
		return err
	})
	return a, err
}

func (r *reader) upload(c Command) error {
	a, err := c.Artifact(r.environ)
	switch {
	case err != nil:
		return err
	case len(a.Files) == 0:
		r.warn("nothing is in the artifact " + a.Name)
		return nil
	case slices.ContainsFunc(r.record.Artifacts, func(o Artifact) bool { return strings.EqualFold(o.Name, a.Name) }):
		return fmt.Errorf("artifact %s already exists", a.Name)
	}
	r.record.Artifacts = append(r.record.Artifacts, a)
	return nil
}

// publish publishes test results. Those that cannot be read are a warning only
// (ResultsCommandExtension.cs).
func (r *reader) publish(c Command) error {
	files := c.Properties["resultfiles"]
	switch {
	case !strings.EqualFold(c.Event, "publish"):
		return fmt.Errorf("there is no command results.%s", c.Event)
	case files == "":
		return fmt.Errorf("no files of test results")
	case c.Properties["type"] != "JUnit":
		return fmt.Errorf("%q is no kind of test results that is known here", c.Properties["type"])
	}
	for _, file := range strings.FieldsFunc(files, func(c rune) bool { return c == ',' || c == '|' }) {
		content, err := os.ReadFile(file)
		if err != nil {
			r.warn("no test results in " + file)
			continue
		}
		r.record.Tests = append(r.record.Tests, string(content))
	}
	return nil
}

func (r *reader) attach(kind, name, file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("there is no file to attach: %w", err)
	}
	r.record.Attachments = append(r.record.Attachments, Attachment{Type: kind, Name: name, Content: string(content)})
	return nil
}
