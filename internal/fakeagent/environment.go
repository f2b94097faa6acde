package fakeagent

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"acrpromote/internal/sim"
)

// Job is what an agent runs: a stage of a run or of a classic release.
type Job interface {
	JobRequest(connections ...*sim.ServiceConnection) sim.JobRequest
}

// Environment is what an agent sets one step of a job up with.
type Environment struct {
	Inputs map[string]string
	// Connections are the inputs that name service connections. The service
	// issues assertions to the job for these alone.
	Connections map[string][]*sim.ServiceConnection
	// Variables and Secrets are the pipeline's own. A variable that the service
	// or the agent sets wins.
	Variables, Secrets map[string]string
	// Env is the step's env: mapping. A real variable of the same name wins.
	Env map[string]string

	// Parallel is the place of the job among those that the phase's strategy
	// runs at once; nil where it runs alone.
	Parallel *ParallelJob

	// Step is the step's name, or what the service calls it without one; empty is
	// that of the first step.
	Step string

	TempDirectory string
	Proxy         *Proxy
	CAFile        string
	Debug         bool
}

// ParallelJob is one of several jobs of a phase. Position counts from 1.
type ParallelJob struct {
	Kind            string // MultiMachine of `parallel`, MultiConfiguration of `matrix`
	Position, Total int
}

// Proxy is the proxy that the agent was configured with.
type Proxy struct {
	URL                string
	Username, Password string
	Bypass             []string // regular expressions
}

// List takes the job and returns the environment of the step's process, sorted.
// It has nothing of the machine's own environment, such as PATH.
func (e Environment) List(job Job) []string {
	inputs := maps.Clone(e.Inputs)
	if inputs == nil {
		inputs = map[string]string{}
	}
	var connections []*sim.ServiceConnection
	for _, name := range slices.Sorted(maps.Keys(e.Connections)) {
		var ids []string
		for _, c := range e.Connections[name] {
			ids = append(ids, c.ID())
		}
		inputs[name] = strings.Join(ids, ",")
		connections = append(connections, e.Connections[name]...)
	}
	request := job.JobRequest(connections...)
	public, secret := request.Variables, request.Secrets
	maps.Copy(public, e.agentVariables())
	if e.Proxy != nil && e.Proxy.Username != "" {
		secret["agent.proxypassword"] = e.Proxy.Password
	}
	addMissing(public, e.Variables)
	addMissing(secret, e.Secrets)
	return environ(public, secret, inputs, e.Env, request.Endpoints)
}

// agentVariables are those that the agent sets, or the service for this step.
func (e Environment) agentVariables() map[string]string {
	all := map[string]string{
		"system.debug": fmt.Sprint(e.Debug), "TF_BUILD": "True",
		"agent.id": "11", "agent.name": "Azure Pipelines 2", "agent.os": "Linux", "agent.osArchitecture": "X64",
		"agent.version": "4.248.0", "agent.jobstatus": "Succeeded", "agent.machineName": "agent",
		"agent.retainDefaultEncoding": "false",
		"system.taskInstanceName":     cmp.Or(e.Step, "AcrPromote"), "system.taskDisplayName": "AcrPromote",
	}
	if j := e.Parallel; j != nil {
		all["system.parallelExecutionType"] = j.Kind
		all["system.jobPositionInPhase"], all["system.totalJobsInPhase"] = fmt.Sprint(j.Position), fmt.Sprint(j.Total)
	}
	if e.TempDirectory != "" {
		all["agent.tempDirectory"] = e.TempDirectory
	}
	if e.Proxy != nil {
		all["agent.proxyurl"] = e.Proxy.URL
		if e.Proxy.Username != "" {
			all["agent.proxyusername"] = e.Proxy.Username
		}
		if len(e.Proxy.Bypass) > 0 {
			all["agent.proxybypasslist"] = compact(e.Proxy.Bypass)
		}
	}
	if e.CAFile != "" {
		all["agent.cainfo"] = e.CAFile
	}
	return all
}

// addMissing adds variables of other names. Their case does not count.
func addMissing(to, from map[string]string) {
	there := slices.Collect(maps.Keys(to))
	for name, value := range from {
		if !slices.ContainsFunc(there, func(n string) bool { return strings.EqualFold(n, name) }) {
			to[name] = value
		}
	}
}

// environ maps names as the agent does: public variables under their names and
// secrets under SECRET_, both also listed by name; inputs; endpoints.
func environ(public, secret, inputs, env map[string]string, endpoints []sim.Endpoint) []string {
	all := maps.Clone(env)
	if all == nil {
		all = map[string]string{}
	}
	put := func(prefix string, variables map[string]string) {
		for name, value := range variables {
			all[prefix+variableName(name)] = value
		}
	}
	put("INPUT_", inputs)
	for _, e := range endpoints {
		parameters := e.Parameters
		if parameters == nil {
			parameters = map[string]string{}
		}
		all["ENDPOINT_URL_"+e.ID] = e.URL
		all["ENDPOINT_AUTH_"+e.ID] = compact(map[string]any{"parameters": parameters, "scheme": e.Scheme})
		all["ENDPOINT_AUTH_SCHEME_"+e.ID] = e.Scheme
		put("ENDPOINT_AUTH_PARAMETER_"+e.ID+"_", parameters)
		if e.Data != nil {
			all["ENDPOINT_DATA_"+e.ID] = compact(e.Data)
			put("ENDPOINT_DATA_"+e.ID+"_", e.Data)
		}
	}
	put("", public)
	put("SECRET_", secret)
	all["VSTS_PUBLIC_VARIABLES"] = compact(slices.Sorted(maps.Keys(public)))
	all["VSTS_SECRET_VARIABLES"] = compact(slices.Sorted(maps.Keys(secret)))
	if status, ok := public["agent.jobstatus"]; ok {
		all["agent.jobstatus"] = status
	}
	list := make([]string, 0, len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		list = append(list, name+"="+all[name])
	}
	return list
}

// variableName returns the name of a variable or an input in the environment.
func variableName(name string) string {
	return strings.ToUpper(strings.NewReplacer(".", "_", " ", "_").Replace(name))
}

func compact(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // nor does the agent
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("fakeagent: environment: %v", err))
	}
	return strings.TrimSuffix(b.String(), "\n")
}
