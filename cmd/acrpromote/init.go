package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"acrpromote/internal/agent"
	"acrpromote/internal/outcome"
	"acrpromote/internal/topology"
)

// initialize writes a flow file, a pipeline and scripts with role commands, and
// returns the exit code.
func initialize(c *agent.Config, stdin io.Reader, log *agent.Log) int {
	if err := initFlowFile(c, stdin, log); err != nil {
		for problem := range strings.SplitSeq(err.Error(), "\n") {
			log.Line("misuse: " + problem)
		}
		return outcome.Misuse.ExitCode()
	}
	return outcome.Done.ExitCode()
}

// initFlowFile asks for values that the flags do not give, and writes four files.
// It does not overwrite existing files.
func initFlowFile(c *agent.Config, stdin io.Reader, log *agent.Log) error {
	answers := topology.Answers{
		Production: c.Production, Development: c.Development, Environments: c.MovingTags,
		Repositories: c.Repositories, Branches: c.Branches, Environment: c.Environment,
	}
	if c.MinApprovers.Given {
		answers.MinApprovers = c.MinApprovers.Value
	}
	if answers.Production == "" || len(answers.Development) == 0 && len(answers.Environments) == 0 {
		if err := ask(&answers, stdin, log); err != nil {
			return err
		}
	}
	kit, err := topology.Init(answers)
	if err != nil {
		return err
	}
	files := []struct{ name, content string }{
		{"flows.yml", kit.FlowFile}, {"azure-pipelines.yml", kit.Pipeline}, {"grant-roles.sh", kit.Bash}, {"grant-roles.ps1", kit.PowerShell},
	}
	folder := c.Folder
	if folder == "" {
		folder = "."
	}
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(folder, f.name)); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("%s already exists and is not overwritten: choose another folder with --folder", filepath.Join(folder, f.name))
		}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for _, f := range files {
		path := filepath.Join(folder, f.name)
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
		log.Line("wrote " + path)
	}
	log.Line("Review the four files, replace the placeholders in <angle brackets>, then run: acrpromote check --flowFile " + filepath.Join(folder, files[0].name))
	return nil
}

// ask asks for the values that the flags do not give, one per line.
func ask(a *topology.Answers, stdin io.Reader, log *agent.Log) error {
	lines := bufio.NewScanner(stdin)
	question := func(text string) (string, bool) {
		log.Line(text)
		if !lines.Scan() {
			return "", false
		}
		return strings.TrimSpace(lines.Text()), true
	}
	list := func(s string) []string {
		return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
	}
	asked := true
	answer := func(text string, missing bool, take func(string)) {
		if !asked || !missing {
			return
		}
		var said string
		if said, asked = question(text); asked {
			take(said)
		}
	}
	answer("PROD registry (<your-registry>.azurecr.io):", a.Production == "", func(s string) { a.Production = s })
	answer("Registries to push released images down to, separated by commas (none if empty):", len(a.Development) == 0, func(s string) { a.Development = list(s) })
	answer("Tags of the PROD registry that move, such as test, stage, production (none if empty):", len(a.Environments) == 0, func(s string) { a.Environments = list(s) })
	answer("Released repositories, such as shop/** (all if empty):", len(a.Repositories) == 0, func(s string) { a.Repositories = list(s) })
	answer("Environment whose approval counts (Production if empty):", a.Environment == "", func(s string) { a.Environment = s })
	if !asked && a.Production == "" {
		return errors.New("no input: pass --production and --development or --movingTags")
	}
	return nil
}
