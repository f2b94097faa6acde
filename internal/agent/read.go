package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"github.com/sethvargo/go-envconfig"

	"acrpromote/internal/levenshtein"
)

// Read makes the configuration from the command line (without the program's
// name) and the environment (as os.Environ gives it). The error is a *Misuse
// with everything that is wrong; even then the Config is there, and what it
// says of InPipeline, InRun, Output and the report's folder holds.
func Read(args, environ []string) (*Config, error) {
	env := environment(environ)
	wrong := &Misuse{}
	c := &Config{}
	_, c.InPipeline = env["INPUT_ACTION"]
	_, build := env["TF_BUILD"]
	_, collection := env["SYSTEM_COLLECTIONURI"]
	c.InRun = c.InPipeline || build || collection
	c.EnvironmentProxy = !c.InPipeline

	var given map[string]string
	if c.InPipeline {
		if len(args) > 0 {
			wrong.add("arguments", fmt.Sprintf("The argument %s is given, and INPUT_ACTION is set.", quote(args[0])),
				"In a pipeline everything comes from the task's inputs; at a prompt unset INPUT_ACTION.")
		}
		unknownInputs(env, wrong)
	} else {
		given, c.HelpTopic = flags(args, wrong)
	}
	c.given = checked(given, env, c.InPipeline, wrong)
	s := &settings{}
	for _, target := range []any{c, s} {
		if err := envconfig.ProcessWith(context.Background(), &envconfig.Config{
			Target:        target,
			Lookuper:      envconfig.MultiLookuper(present(c.given), present(withoutInputs(env))),
			DefaultNoInit: true,
		}); err != nil {
			// Every input was checked before, so this is a defect of the table.
			wrong.add("configuration", fmt.Sprintf("The configuration cannot be read: %s.", err), "")
		}
	}
	c.Debug, c.tempDirectory = strings.EqualFold(s.Debug, "true"), s.TempDirectory
	if c.IsHelp() {
		if c.HelpTopic != "" && !slices.Contains(Actions, c.HelpTopic) {
			wrong.add("help", fmt.Sprintf("There is no action %s.", quote(c.HelpTopic)),
				suggestion(c.HelpTopic, Actions, "The actions are "+strings.Join(Actions, ", ")+"."))
		}
		return c, wrong.orNil()
	}

	c.systemConnection(s)
	c.trust(s, wrong)
	c.connections(env, wrong)
	c.validate(env, wrong)
	return c, wrong.orNil()
}

func (m *Misuse) orNil() error {
	if len(m.Problems) == 0 {
		return nil
	}
	return m
}

// environment keys the variables by name; the first of two wins, as it does
// for os.Getenv. Windows knows no case in names.
func environment(environ []string) map[string]string {
	env := make(map[string]string, len(environ))
	for _, pair := range environ {
		name, value, ok := strings.Cut(pair, "=")
		if runtime.GOOS == "windows" {
			name = strings.ToUpper(name)
		}
		if _, twice := env[name]; ok && name != "" && !twice {
			env[name] = value
		}
	}
	return env
}

// present finds what is given: an empty value counts as absent, so that the
// next source is asked.
func present(values map[string]string) envconfig.Lookuper {
	return envconfig.LookuperFunc(func(key string) (string, bool) {
		v := strings.TrimSpace(values[key])
		return v, v != ""
	})
}

// withoutInputs leaves the inputs out: they are looked up among the checked
// values alone, so that a value that was found wrong is not read after all.
func withoutInputs(env map[string]string) map[string]string {
	rest := make(map[string]string, len(env))
	for name, value := range env {
		if !strings.HasPrefix(name, "INPUT_") && !strings.HasPrefix(name, "FLAG_") {
			rest[name] = value
		}
	}
	return rest
}

// checked merges flags and environment and leaves out what is wrong, after
// telling it.
func checked(given, env map[string]string, pipeline bool, wrong *Misuse) map[string]string {
	lookup := envconfig.MultiLookuper(present(given), present(env))
	values := map[string]string{}
	for _, in := range Inputs {
		source := lookup
		if in.FlagOnly {
			source = present(given)
		}
		value, ok := source.Lookup(in.flagKey())
		if !ok {
			continue
		}
		subject := in.Name
		if !pipeline {
			subject = "--" + in.Name
		}
		if in.Name == "action" {
			if !pipeline {
				subject = "action"
			}
			known := Actions
			if !pipeline {
				known = slices.Concat(Actions, prompted)
			}
			if !slices.Contains(known, value) {
				remedy := fmt.Sprintf("The actions are %s.", strings.Join(known, ", "))
				if near, ok := levenshtein.Nearest(value, known); ok {
					remedy = fmt.Sprintf("Did you mean %s? %s", near, remedy)
				}
				wrong.add(subject, fmt.Sprintf("There is no action %s.", quote(value)), remedy)
				continue
			}
			values[in.flagKey()] = value
			continue
		}
		if err := checkValue(in, value); err != nil {
			wrong.add(subject, fmt.Sprintf("%s: %s.", subject, err), in.correction(value))
			continue
		}
		values[in.flagKey()] = value
	}
	return values
}

// unknownInputs refuses what the task does not know: a rule whose name was
// mistyped would otherwise be no rule.
func unknownInputs(env map[string]string, wrong *Misuse) {
	known := map[string]bool{}
	for _, in := range Inputs {
		known[in.Key()] = !in.FlagOnly
	}
	var unknown []string
	for name, value := range env {
		if strings.HasPrefix(name, "INPUT_") && !known[name] && value != "" {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		short := strings.TrimPrefix(name, "INPUT_")
		wrong.add(strings.ToLower(short), fmt.Sprintf("The task has no input %s.", quote(strings.ToLower(short))),
			suggestion(short, inputNames(false), "The inputs are "+strings.Join(inputNames(false), ", ")+"."))
	}
}

// systemConnection finds the collection and the job's token.
func (c *Config) systemConnection(s *settings) {
	c.CollectionURL, c.Token = s.SystemURL, s.SystemToken
	if c.Token == "" && s.SystemAuth != "" {
		if _, parameters := authorization(s.SystemAuth.Reveal()); parameters != nil {
			c.Token = Secret(parameters["ACCESSTOKEN"])
		}
	}
	if !c.InPipeline && c.CollectionURL == "" {
		c.CollectionURL = c.Claims.CollectionURI
		if c.Token == "" {
			c.Token = s.ScriptAccessToken
		}
	}
}

// authorization reads ENDPOINT_AUTH_<id>; names of parameters come back in the
// form that they have as environment variables.
func authorization(document string) (scheme string, parameters map[string]string) {
	var auth struct {
		Scheme     string            `json:"scheme"`
		Parameters map[string]string `json:"parameters"`
	}
	if len(document) > 1<<20 || json.Unmarshal([]byte(document), &auth) != nil {
		return "", nil
	}
	parameters = make(map[string]string, len(auth.Parameters))
	for name, value := range auth.Parameters {
		parameters[variableKey(name)] = value
	}
	return auth.Scheme, parameters
}
