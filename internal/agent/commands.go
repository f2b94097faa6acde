package agent

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
)

// TaskResult is the result in task.complete.
type TaskResult string

const (
	Succeeded           TaskResult = "Succeeded"
	SucceededWithIssues TaskResult = "SucceededWithIssues"
	Failed              TaskResult = "Failed"
	Canceled            TaskResult = "Canceled"
)

// Outputs are the output variables of the task.
var Outputs = []string{"digest", "image", "changed", "plan", "report"}

// Commands writes the agent's logging commands. Outside a pipeline it writes
// warnings, errors and debug messages as plain lines, and nothing else.
type Commands struct {
	log      *Log
	pipeline bool
	debug    bool

	mu       sync.Mutex
	complete bool
}

// NewCommands returns Commands that write to log. debug enables debug messages
// at a prompt; in a pipeline the agent shows or isHidden them.
func NewCommands(log *Log, pipeline, debug bool) *Commands {
	return &Commands{log: log, pipeline: pipeline, debug: debug}
}

// Debug writes a debug message.
func (c *Commands) Debug(text string) {
	switch {
	case c.pipeline:
		c.send("task.debug", nil, Escape(text))
	case c.debug:
		c.log.Line("debug: " + text)
	}
}

// Warning adds a warning to the issues of the run.
func (c *Commands) Warning(text string) { c.issue("warning", text) }

// Error adds an error to the issues of the run.
func (c *Commands) Error(text string) { c.issue("error", text) }

// ErrorAt adds an error at a place in a file of the workspace to the issues of the
// run. Line and column count from 1.
func (c *Commands) ErrorAt(path string, line, column int, text string) {
	text = fmt.Sprintf("%s:%d:%d: %s", path, line, column, text)
	if !c.pipeline {
		c.log.Line(text)
		return
	}
	c.send("task.logissue", []property{{"type", "error"}, {"sourcepath", Escape(path)}, {"linenumber", strconv.Itoa(line)}, {"columnnumber", strconv.Itoa(column)}}, Escape(text))
}

func (c *Commands) issue(kind, text string) {
	if !c.pipeline {
		c.log.Line(kind + ": " + text)
		return
	}
	c.send("task.logissue", []property{{"type", kind}}, Escape(text))
}

// SetProgress sets the progress of the step.
func (c *Commands) SetProgress(percent int, text string) {
	if c.pipeline {
		c.send("task.setprogress", []property{{"value", strconv.Itoa(min(max(percent, 0), 100))}}, Escape(text))
	}
}

// SetVariable sets an output variable, one of Outputs.
func (c *Commands) SetVariable(name, value string) error {
	for _, o := range Outputs {
		if o == name {
			if c.pipeline {
				c.send("task.setvariable", []property{{"variable", name}, {"isOutput", "true"}}, value)
			}
			return nil
		}
	}
	return fmt.Errorf("%s is not an output variable of this task", quote(name))
}

// UploadSummary shows a Markdown file on the run's page. The file must exist:
// the agent fails the task otherwise.
func (c *Commands) UploadSummary(path string) {
	if c.pipeline {
		c.send("task.uploadsummary", nil, path)
	}
}

// AddAttachment stores a file under the step's record, where programs find it by
// type and name. The file must exist: the agent fails the task otherwise.
func (c *Commands) AddAttachment(kind, name, path string) {
	if c.pipeline {
		c.send("task.addattachment", []property{{"type", kind}, {"name", name}}, path)
	}
}

// UploadArtifact publishes the files of a folder as an artifact of the run, which only a
// build has. The agent uploads them when the task has ended, and fails the step if it
// cannot. They must exist, and no artifact of the run may have the name.
func (c *Commands) UploadArtifact(name, folder string) {
	if c.pipeline {
		c.send("artifact.upload", []property{{"containerfolder", name}, {"artifactname", name}}, folder)
	}
}

// PublishTests shows the test results in a JUnit file on the run's Tests tab, as a test
// run with a title. The agent reads the file later. It separates several files by
// commas or bars.
func (c *Commands) PublishTests(title, path string) {
	switch {
	case !c.pipeline:
	case strings.ContainsAny(path, ",|"):
		c.Warning("The test results are not published: the path of the folder has a comma or a bar. Set reportFolder to another folder.")
	default:
		c.send("results.publish", []property{{"type", "JUnit"}, {"mergeResults", "true"}, {"runTitle", Escape(title)}, {"resultFiles", path}}, "")
	}
}

// Complete sets the result of the task. Only the first call has effect, because
// the agent would merge several results into the worst.
func (c *Commands) Complete(result TaskResult, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.complete || !c.pipeline {
		return
	}
	c.complete = true
	c.send("task.complete", []property{{"result", string(result)}}, Escape(text))
}

type property struct{ name, value string }

func (c *Commands) send(command string, properties []property, data string) {
	c.log.raw(encode(command, properties, data))
}

// The agent unescapes ';', CR, LF and ']' everywhere, including in data, and
// %AZP25 last (microsoft/azure-pipelines-agent, CommandStringConvertor), so '%'
// is escaped first.
var (
	escapeData     = strings.NewReplacer("%", "%AZP25", "\r", "%0D", "\n", "%0A")
	escapeProperty = strings.NewReplacer("%", "%AZP25", "\r", "%0D", "\n", "%0A", "]", "%5D", ";", "%3B")
)

func encode(command string, properties []property, data string) string {
	var b strings.Builder
	b.WriteString("##vso[" + command)
	for i, p := range properties {
		if i == 0 {
			b.WriteByte(' ')
		}
		b.WriteString(p.name + "=" + escapeProperty.Replace(p.value) + ";")
	}
	b.WriteByte(']')
	b.WriteString(escapeData.Replace(data))
	return b.String()
}
