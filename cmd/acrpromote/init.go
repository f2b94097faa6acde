package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"acrpromote/internal/agent"
	"acrpromote/internal/outcome"
	"acrpromote/internal/topology"
)

// initialize writes a flow file, its schema, a pipeline and scripts with role
// commands, and returns the exit code. usage has the mistakes in the flags that
// were found already, or is nil.
func initialize(c *agent.Config, usage error, stdin io.Reader, log *agent.Log) int {
	kit := starterKit{config: c, log: log, folder: c.Folder, answers: topology.Answers{
		Production: c.Production, Development: c.Development, Environments: c.MovingTags,
		Repositories: c.Repositories, Branches: c.Branches, Environment: c.Environment,
	}}
	if kit.folder == "" {
		kit.folder = "."
	}
	for _, warning := range c.Warnings {
		log.Line("warning: " + warning)
	}
	if c.MinApprovers.Given {
		kit.answers.MinApprovers = c.MinApprovers.Value
	}
	if err := kit.make(usage, stdin); err != nil {
		for problem := range strings.SplitSeq(err.Error(), "\n") {
			log.Line("misuse: " + problem)
		}
		if kit.asked {
			log.Line("Your answers so far: acrpromote init " + kit.flags())
		}
		return outcome.Misuse.ExitCode()
	}
	return outcome.Done.ExitCode()
}

// starterKit is the kit of files that init makes of answers.
type starterKit struct {
	config  *agent.Config
	log     *agent.Log
	folder  string
	answers topology.Answers
	asked   bool // at least one answer was read
}

// make checks the flags and the folder, asks for what the flags do not give, and
// writes the files.
func (k *starterKit) make(usage error, stdin io.Reader) error {
	wrong := &agent.UsageError{}
	if given, ok := errors.AsType[*agent.UsageError](usage); ok {
		for _, p := range given.Problems {
			wrong.Problems = append(wrong.Problems, agent.Problem{Reason: p.Subject + ": " + p.Reason, Remedy: p.Remedy})
		}
	} else if usage != nil {
		return usage
	}
	for _, p := range k.answers.Problems() {
		wrong.Problems = append(wrong.Problems, agent.Problem{Reason: "--" + p.Answer + ": " + p.Reason, Remedy: p.Remedy})
	}
	if info, err := os.Stat(k.folder); err == nil && !info.IsDir() {
		wrong.Problems = append(wrong.Problems, agent.Problem{Reason: "--folder: " + k.folder + " is not a folder", Remedy: "Choose another folder."})
		return wrong
	}
	var present []string
	for _, name := range []string{"flows.yml", "flow.schema.json", "azure-pipelines.yml", "grant-roles.sh", "grant-roles.ps1"} {
		if path := filepath.Join(k.folder, name); exists(path) {
			present = append(present, path)
		}
	}
	if len(present) > 0 {
		wrong.Problems = append(wrong.Problems, agent.Problem{Reason: "existing files are not overwritten: " + strings.Join(present, ", "), Remedy: "Choose another folder with --folder, or delete them."})
	}
	if err := wrong.OrNil(); err != nil {
		return err
	}
	if len(k.answers.Missing()) > 0 {
		if err := k.ask(stdin); err != nil {
			return err
		}
	}
	made, err := topology.Init(k.answers)
	if err != nil {
		return err
	}
	return k.write([]namedFile{
		{"flows.yml", made.FlowFile}, {"flow.schema.json", made.Schema}, {"azure-pipelines.yml", made.Pipeline},
		{"grant-roles.sh", made.Bash}, {"grant-roles.ps1", made.PowerShell},
	})
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}

type namedFile struct{ name, content string }

func (k *starterKit) write(files []namedFile) error {
	if err := os.MkdirAll(k.folder, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(k.folder, f.name)
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return err
		}
		_, err = file.WriteString(f.content)
		if closing := file.Close(); err == nil {
			err = closing
		}
		if err != nil {
			return err
		}
		k.log.Line("wrote " + path)
	}
	k.log.Line("Review the files and replace the placeholders in <angle brackets>.")
	k.log.Line("Put flows.yml and flow.schema.json into a repository release-rules, which the authors of the pipeline cannot write to, and azure-pipelines.yml into theirs.")
	k.log.Line("Grant the roles with grant-roles.sh in bash, or grant-roles.ps1 in PowerShell.")
	k.log.Line("Check each change with: acrpromote check " + filepath.Join(k.folder, files[0].name))
	return nil
}

// question asks for one answer, named like its flag.
type question struct {
	answer, text string
	open         func(topology.Answers) bool // whether it has to be asked
	take         func(*topology.Answers, string)
}

var questions = []question{
	{"production", "PROD registry (<your-registry>.azurecr.io):",
		func(a topology.Answers) bool { return a.Production == "" },
		func(a *topology.Answers, s string) { a.Production = s }},
	{"development", "Registries to push released images down to, separated by commas (none if empty):",
		func(a topology.Answers) bool { return len(a.Development) == 0 },
		func(a *topology.Answers, s string) { a.Development = list(s) }},
	{"movingTags", "Tags of the PROD registry that move, such as test, stage, production (none if empty):",
		func(a topology.Answers) bool { return len(a.Environments) == 0 },
		func(a *topology.Answers, s string) { a.Environments = list(s) }},
	{"repositories", "Released repositories, such as shop/** (all if empty):",
		func(a topology.Answers) bool { return len(a.Repositories) == 0 },
		func(a *topology.Answers, s string) { a.Repositories = list(s) }},
	{"environment", "Environment whose approval counts (Production if empty):",
		func(a topology.Answers) bool { return a.Environment == "" && len(a.Development) > 0 },
		func(a *topology.Answers, s string) { a.Environment = s }},
}

func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

// ask asks for the answers that the flags do not give, one per line. It checks each
// at once, and asks again if it is wrong. Without further input, the questions
// that may be left empty count as answered so.
func (k *starterKit) ask(stdin io.Reader) error {
	lines := bufio.NewScanner(stdin)
	for _, q := range questions {
		if !q.open(k.answers) {
			continue
		}
		for {
			k.log.Line(q.text)
			if !lines.Scan() {
				return k.endOfInput(lines.Err())
			}
			answers := k.answers
			q.take(&answers, strings.TrimSpace(lines.Text()))
			problems := mistakes(answers, q.answer)
			if len(problems) == 0 {
				k.answers, k.asked = answers, true
				break
			}
			for _, p := range problems {
				k.log.Line(p.Explanation())
			}
		}
	}
	return nil
}

// mistakes returns what is wrong with one answer, given those before it.
func mistakes(a topology.Answers, answer string) []topology.AnswerProblem {
	var found []topology.AnswerProblem
	for _, p := range append(a.Problems(), a.Missing()...) {
		if p.Answer == answer {
			found = append(found, p)
		}
	}
	return found
}

// endOfInput returns the error for input that ended before a required answer, or nil
// if no required one is missing.
func (k *starterKit) endOfInput(err error) error {
	switch missing := k.answers.Missing(); {
	case err != nil:
		return fmt.Errorf("reading the answers failed: %w", err)
	case len(missing) == 0:
		return nil
	case !k.asked:
		return errors.New("no input: pass --production and --development or --movingTags")
	default:
		return &topology.AnswerError{Problems: missing}
	}
}

// flags returns the answers as flags, so that none is lost.
func (k *starterKit) flags() string {
	a := k.answers
	var flags []string
	add := func(name string, values ...string) {
		if text := strings.Join(values, ","); text != "" {
			flags = append(flags, "--"+name+" "+shellWord(text))
		}
	}
	add("folder", k.config.Folder)
	add("production", a.Production)
	add("development", a.Development...)
	add("movingTags", a.Environments...)
	add("repositories", a.Repositories...)
	for _, branch := range a.Branches {
		add("branches", branch)
	}
	add("environment", a.Environment)
	if a.MinApprovers > 0 {
		add("minApprovers", strconv.Itoa(a.MinApprovers))
	}
	return strings.Join(flags, " ")
}

// shellWord quotes a word if it needs that. Without a quote in it, the result is the
// same in bash and PowerShell.
func shellWord(s string) string {
	if strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("._-/:", r)
	}) {
		return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
	}
	return s
}
