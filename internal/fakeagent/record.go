package fakeagent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
}

func newReader(settable []string) *reader {
	return &reader{settable: settable, record: Record{Variables: map[string]Variable{}}}
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
	case "artifact", "build", "release", "telemetry":
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
		if c.Properties["type"] == "" || c.Properties["name"] == "" {
			return fmt.Errorf("an attachment needs a type and a name")
		}
		return r.attach(c.Properties["type"], c.Properties["name"], c.Data)
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
