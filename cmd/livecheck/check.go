package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"acrpromote/internal/collection"
	"acrpromote/internal/sanitize"
)

// check is everything that the probes may ask.
type check struct {
	o        options
	hide     *pseudonyms
	registry map[part]*registry
	reader   *registry
	run      *runEvidence     // nil without -run
	release  *releaseEvidence // nil without -release
	job      *job             // nil outside a job
	answers  map[string]answer
}

// open signs in to whatever the options name. It returns an error, before anything
// is written, if a registry or project does not exist for this check alone.
func open(ctx context.Context, o options) (*check, error) {
	secrets := &sanitize.Secrets{}
	c := &check{o: o, hide: newPseudonyms(secrets, o.names), registry: map[part]*registry{}, answers: map[string]answer{}}
	client := newHTTPClient()
	sign := &signIn{http: client, secrets: secrets}
	for _, r := range []struct {
		of   part
		host string
	}{{ofRegistry, o.registry}, {ofSoftDelete, o.softDelete}, {ofRetention, o.retention}, {ofRegional, o.regional}, {ofKeys, o.keys}} {
		if r.host == "" {
			continue
		}
		if err := throwAway("registry", r.host, o.prefix); err != nil {
			return nil, err
		}
		if err := ofAzure(r.host); err != nil {
			return nil, err
		}
		c.hide.registry(r.host)
		c.registry[r.of] = newRegistry(r.host, client, sign)
	}
	for of, r := range c.registry {
		if of == ofRegional {
			continue // another name of -registry, which is looked at
		}
		if err := r.empty(ctx); err != nil {
			return nil, err
		}
	}
	if user, password := os.Getenv("LIVECHECK_READER"), os.Getenv("LIVECHECK_READER_PASSWORD"); user != "" && o.registry != "" {
		secrets.AddLogin(user, password)
		c.reader = newRegistry(o.registry, client, &signIn{http: client, secrets: secrets, user: user, password: password})
	}
	if o.organization != "" {
		if err := c.openProject(ctx, client); err != nil {
			return nil, err
		}
	}
	for _, file := range o.answers {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := c.take(content); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	}
	return c, nil
}

// openProject reads the run and the release.
func (c *check) openProject(ctx context.Context, client *http.Client) error {
	if err := throwAway("project", c.o.project, c.o.prefix); err != nil {
		return err
	}
	pat := os.Getenv("AZURE_DEVOPS_EXT_PAT")
	if pat == "" {
		return errors.New("-organization needs a personal access token in AZURE_DEVOPS_EXT_PAT")
	}
	at, err := collection.Parse(c.o.organization)
	if err != nil {
		return fmt.Errorf("-organization: %w", err)
	}
	c.hide.secrets.AddLogin("", pat)
	c.hide.organization(c.o.organization, c.o.project)
	d := &devOps{http: client, at: at, collection: c.o.organization, project: c.o.project, authorization: basic("", pat)}
	if c.o.run != 0 {
		run, err := d.readRun(ctx, c.o.run)
		if err != nil {
			return err
		}
		c.run = run
		for _, content := range run.reports {
			if err := c.take(content); err != nil {
				return fmt.Errorf("the answers that run %d attached: %w", c.o.run, err)
			}
		}
	}
	if c.o.release != 0 {
		release, err := d.readRelease(ctx, c.o.release)
		if err != nil {
			return err
		}
		c.release = release
	}
	return nil
}

// jobReport is what livecheck -job writes.
type jobReport struct {
	Schema  string            `json:"schema"`
	Answers map[string]answer `json:"answers"`
}

const jobSchema = "acrpromote/livecheck/job/v1"

// take adds the answers that a job found.
func (c *check) take(content []byte) error {
	var r jobReport
	if err := json.Unmarshal(content, &r); err != nil {
		return err
	}
	if r.Schema != jobSchema {
		return fmt.Errorf("the schema is %q, not %q", r.Schema, jobSchema)
	}
	for id, a := range r.Answers {
		if before, there := c.answers[id]; !there || before.Answer == notChecked {
			c.answers[id] = a
		}
	}
	return nil
}

// ask returns the answer to a fact, or why it cannot be checked.
func (c *check) ask(ctx context.Context, f fact) answer {
	if ctx.Err() != nil {
		return failed(ctx.Err())
	}
	there := false
	switch f.of {
	case ofReader:
		there = c.reader != nil
	case ofRun:
		there = c.run != nil
	case ofRelease:
		there = c.release != nil
	case ofJob, ofServerJob, ofReleaseJob:
		if a, ok := c.answers[f.id]; ok {
			return a
		}
		there = c.job != nil && c.job.is(f.of)
	case ofRegional:
		there = c.registry[ofRegional] != nil && c.registry[ofRegistry] != nil
	default:
		there = c.registry[f.of] != nil
	}
	if !there {
		return unchecked("needs " + string(f.of))
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.wait+2*time.Minute)
	defer cancel()
	return f.probe(ctx, c)
}

// cleanUp removes what the probes pushed and returns what it could not remove.
func (c *check) cleanUp(ctx context.Context) []string {
	notes := []string{}
	for _, f := range facts {
		r := c.registry[f.of]
		if f.of == ofRegional || f.of == ofReader {
			r = c.registry[ofRegistry]
		}
		if r == nil || !r.touched[f.id] {
			continue
		}
		if err := r.remove(ctx, repositoryOf(f.id)); err != nil {
			notes = append(notes, fmt.Sprintf("repository %s could not be removed (%v): remove the registry", repositoryOf(f.id), err))
		}
	}
	return notes
}
