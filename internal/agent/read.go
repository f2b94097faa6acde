package agent

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"

	"acrpromote/internal/levenshtein"
)

// Read returns the configuration given by the command line (without the
// program's name) and the environment (as returned by os.Environ). The error is
// a *UsageError with all mistakes. Even then the Config is not nil, and its
// InPipeline, InRun, Output, ReportPath, Suspicious and Secrets are valid.
func Read(args, environ []string) (*Config, error) {
	env := environment(environ)
	usage := &UsageError{}
	c := &Config{}
	_, c.InPipeline = env["INPUT_ACTION"]
	_, build := env["TF_BUILD"]
	_, collection := env["SYSTEM_COLLECTIONURI"]
	c.InRun = c.InPipeline || build || collection
	c.EnvironmentProxy = !c.InPipeline
	c.UserVariables = userVariables(env)
	c.Secrets = secrets(env)
	c.Suspicious = suspicious(env)
	c.warnOfEnvironment()

	var given map[string]string
	var operands []string
	if c.InPipeline {
		if len(args) > 0 {
			usage.add("arguments", fmt.Sprintf("argument %s is not allowed if INPUT_ACTION is set", quote(args[0])),
				"In a pipeline, use the inputs of the task. At a prompt, unset INPUT_ACTION.")
		}
		unknownInputs(env, usage)
	} else {
		given, operands = flags(args, usage)
		c.takeArguments(given, operands, usage)
	}
	c.given = checked(given, env, c.InPipeline, usage)
	s := &settings{}
	for _, target := range []any{c, s} {
		if err := decode(target, present(c.given).or(present(withoutInputs(env)))); err != nil {
			// Every input was validated before, so this is a defect of the table.
			usage.add("configuration", fmt.Sprintf("cannot read the configuration: %s", err), "")
		}
	}
	c.Debug, c.tempDirectory = strings.EqualFold(s.Debug, "true"), s.TempDirectory
	if c.IsHelp() {
		return c, usage.OrNil()
	}

	c.systemConnection(s)
	c.trust(s, usage)
	c.connections(env, usage)
	c.addSecrets()
	c.validate(env, usage)
	return c, usage.OrNil()
}

// takeArguments puts the arguments without a flag where the action expects them.
func (c *Config) takeArguments(given map[string]string, operands []string, usage *UsageError) {
	argument := first(operands)
	switch given["INPUT_ACTION"] {
	case Help:
		c.HelpTopic = argument
		if topics := helpTopics(); argument != "" && !slices.Contains(topics, argument) {
			usage.add("help", "unknown topic "+quote(argument), suggestion(argument, topics, "`acrpromote help help` lists the topics."))
		}
	case Completion:
		c.Shell = argument
		if !slices.Contains(Shells, argument) {
			reason := "completion requires a shell"
			if argument != "" {
				reason = "unknown shell " + quote(argument)
			}
			usage.add("completion", reason, suggestion(argument, Shells, "Use one of: "+strings.Join(Shells, ", ")+"."))
		}
	case Code, Report:
		c.Operands = operands
	case Trace, Recall:
		if image := given["INPUT_SOURCE"]; argument != "" && image != "" && image != argument {
			usage.add("--source", "the image is given twice", "Give it once: acrpromote "+given["INPUT_ACTION"]+" IMAGE.")
		} else if argument != "" {
			given["INPUT_SOURCE"] = argument
		}
	case Check:
		if file := given["INPUT_FLOWFILE"]; argument != "" && file != "" && file != argument {
			usage.add("--flowFile", "the flow file is given twice", "Give it once: acrpromote check FILE.")
		} else if argument != "" {
			given["INPUT_FLOWFILE"] = argument
		}
	}
}

// environment returns the variables by name. If a name occurs twice, the first
// applies, as in os.Getenv. On Windows, names have no case.
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

// userVariables returns the variables that sign a user in to Azure.
func userVariables(env map[string]string) map[string]string {
	variables := map[string]string{}
	for name, value := range env {
		if strings.HasPrefix(name, "AZURE_") || name == "IDENTITY_ENDPOINT" || name == "MSI_ENDPOINT" {
			variables[name] = value
		}
	}
	return variables
}

// present looks up values that are not empty: an empty value counts as absent,
// so that the next source is tried.
func present(values map[string]string) lookup {
	return func(name string) (string, bool) {
		v := strings.TrimSpace(values[name])
		return v, v != ""
	}
}

// withoutInputs returns the environment without the inputs, which are looked up
// only among the validated values.
func withoutInputs(env map[string]string) map[string]string {
	rest := make(map[string]string, len(env))
	for name, value := range env {
		if !strings.HasPrefix(name, "INPUT_") && !strings.HasPrefix(name, "FLAG_") {
			rest[name] = value
		}
	}
	return rest
}

// checked merges flags and environment. It reports invalid values and leaves
// them out.
func checked(given, env map[string]string, pipeline bool, usage *UsageError) map[string]string {
	anywhere := present(given).or(present(env))
	values := map[string]string{}
	for _, in := range Inputs {
		source := anywhere
		if in.FlagOnly {
			source = present(given)
		}
		value, ok := source(in.flagKey())
		if !ok {
			continue
		}
		subject := in.Name
		if !pipeline {
			subject = "--" + in.Name
		}
		if in.Name == "action" && !pipeline {
			subject = "action"
		}
		if found := in.expressions(value); len(found) > 0 {
			for _, e := range found {
				reason, remedy := e.NotExpanded()
				usage.add(subject, reason, remedy)
			}
			continue
		}
		if in.Name == "action" {
			known := TaskActions
			if !pipeline {
				known = AllActions
			}
			if !slices.Contains(known, value) {
				remedy := fmt.Sprintf("The actions are %s.", strings.Join(known, ", "))
				if near, ok := levenshtein.Nearest(value, known); ok {
					remedy = fmt.Sprintf("Did you mean %s? %s", near, remedy)
				}
				usage.add(subject, "unknown action "+quote(value), remedy)
				continue
			}
			values[in.flagKey()] = value
			continue
		}
		if err := checkValue(in, value); err != nil {
			usage.add(subject, err.Error(), in.correction(value))
			continue
		}
		values[in.flagKey()] = value
	}
	return values
}

// unknownInputs reports unknown inputs: otherwise a rule whose name is mistyped
// would not apply.
func unknownInputs(env map[string]string, usage *UsageError) {
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
		usage.add(strings.ToLower(short), "unknown input "+quote(strings.ToLower(short)),
			suggestion(short, inputNames(false), "The inputs are "+strings.Join(inputNames(false), ", ")+"."))
	}
}

// systemConnection sets the collection's URL and the job's token.
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

// authorization parses ENDPOINT_AUTH_<id>. It returns the parameters by their
// names as environment variables. A parameter that is not a string counts as
// absent.
func authorization(document string) (scheme string, parameters map[string]string) {
	var auth struct {
		Scheme     string         `json:"scheme"`
		Parameters map[string]any `json:"parameters"`
	}
	if len(document) > 1<<20 || json.Unmarshal([]byte(document), &auth) != nil {
		return "", nil
	}
	parameters = make(map[string]string, len(auth.Parameters))
	for name, value := range auth.Parameters {
		if text, ok := value.(string); ok {
			parameters[variableKey(name)] = text
		}
	}
	return auth.Scheme, parameters
}
