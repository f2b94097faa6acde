package topology

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"acrpromote/internal/expression"
	"acrpromote/internal/ref"
)

// Answers are the answers given to `acrpromote init`. Registries are given by
// their host names. Development, Environments or both are required.
type Answers struct {
	Production   string
	Development  []string // the registries that released images go down to
	Environments []string // the tags of the PROD registry that move, such as test, stage, production
	Repositories []string // patterns; if empty, all repositories
	Branches     []string // full refs that release candidates are built from; if empty, refs/heads/main
	Environment  string   // whose approval counts; if empty, Production
	MinApprovers int      // if 0, 1
}

// AnswerProblem is a mistake in an answer, which is named like the flag that gives
// it. Reason is a clause, and Remedy a sentence, or empty.
type AnswerProblem struct{ Answer, Reason, Remedy string }

// Explanation returns the reason and the remedy in one text.
func (p AnswerProblem) Explanation() string { return mistake{p.Reason, p.Remedy}.Error() }

// AnswerError is the error for answers with mistakes.
type AnswerError struct{ Problems []AnswerProblem }

func (e *AnswerError) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = "--" + p.Answer + ": " + p.Explanation()
	}
	return strings.Join(lines, "\n")
}

func (e *AnswerError) add(answer string, err error) {
	if err == nil {
		return
	}
	m, ok := errors.AsType[mistake](err)
	if !ok {
		m.reason = err.Error()
	}
	e.Problems = append(e.Problems, AnswerProblem{answer, m.reason, m.remedy})
}

// Problems returns the mistakes in the answers that are given.
func (a Answers) Problems() []AnswerProblem {
	var found AnswerError
	seen := map[string]bool{}
	host := func(answer, text string) {
		read, err := readHost(text)
		if err == nil && seen[read] {
			err = mistake{"duplicate registry " + read, "A registry has one trust level."}
		}
		seen[read] = true
		found.add(answer, err)
	}
	if a.Production != "" {
		host("production", a.Production)
	}
	for _, text := range a.Development {
		host("development", text)
	}
	checkEach(&found, "movingTags", a.Environments, checkMovingTag)
	checkEach(&found, "repositories", a.Repositories, func(text string) error { return new(RepositoryPattern).read(text) })
	checkEach(&found, "branches", a.Branches, func(text string) error { return new(BranchPattern).read(text) })
	if a.Environment != "" {
		found.add("environment", checkEnvironment(a.Environment))
	}
	if a.MinApprovers < 0 || a.MinApprovers > maxCount {
		found.add("minApprovers", mistake{fmt.Sprintf("the number of approvers is %d, not 1 to %d", a.MinApprovers, maxCount), ""})
	}
	return found.Problems
}

// checkEach checks the entries of an answer.
func checkEach(found *AnswerError, answer string, given []string, check func(string) error) {
	for i, text := range given {
		err := unexpandedAnswer(text)
		if err == nil {
			err = check(text)
		}
		if err == nil && slices.Contains(given[:i], text) {
			err = mistake{"duplicate entry " + quote(text), "Give it once."}
		}
		found.add(answer, err)
	}
}

// unexpandedAnswer returns the mistake that a text has an expression of Azure
// Pipelines, which the flow file cannot have.
func unexpandedAnswer(text string) error {
	for _, e := range expression.Find(text) {
		reason, remedy := e.NotAllowed("a flow file")
		return mistake{reason, remedy}
	}
	return nil
}

// checkMovingTag checks a tag that moves. Each is the name of an environment, too.
func checkMovingTag(text string) error {
	if strings.ContainsAny(text, "*?") {
		return mistake{quote(text) + " is a pattern", "Name each tag: an environment of the same name approves that it moves."}
	}
	if !ref.IsTag(text) {
		return new(TagGlob).read(text)
	}
	return nil
}

// checkEnvironment checks the name of an environment to which a job can deploy.
func checkEnvironment(text string) error {
	if err := unexpandedAnswer(text); err != nil {
		return err
	}
	if strings.HasPrefix(strings.ToLower(text), "endpoint:") || strings.HasPrefix(text, "#") || strings.Contains(text, "{tag}") {
		return mistake{quote(text) + " is not the name of an environment", "The pipeline deploys to it, so write the name itself. The flow file can be changed later."}
	}
	return new(Resource).read(text)
}

// Missing returns the mistake that required answers are not given.
func (a Answers) Missing() []AnswerProblem {
	var found AnswerError
	if a.Production == "" {
		found.add("production", mistake{"the PROD registry is not given", "Name its host, such as <your-registry>.azurecr.io."})
	}
	if len(a.Development) == 0 && len(a.Environments) == 0 {
		found.add("movingTags", mistake{"there are no targets", "Name the DEV registries, the tags of the environments, or both."})
	}
	return found.Problems
}

// answerOf returns the name of the answer that a key of the flow file is from.
func answerOf(key string) string {
	for _, part := range []struct{ key, answer string }{
		{"registries.prod", "production"}, {"registries", "development"}, {".repositories", "repositories"}, {".movingTags", "movingTags"},
		{".branches", "branches"}, {".environment", "environment"}, {".minApprovers", "minApprovers"},
	} {
		if strings.Contains(key, part.key) {
			return part.answer
		}
	}
	return "production"
}
