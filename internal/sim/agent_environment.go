package sim

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Task is one step of a job, with what the agent that runs it was set up with.
type Task struct {
	Inputs map[string]string
	// Connections are the inputs that name service connections: the agent hands
	// over their ids and credentials, and the service issues assertions for
	// them alone.
	Connections map[string][]*ServiceConnection
	// Variables are the pipeline's own; they win over nothing that the service
	// sets.
	Variables map[string]string
	Secrets   map[string]string
	// Env is the step's env: mapping. A real variable of the same name wins.
	Env map[string]string

	// Parallel is the place of the job among those that the phase's strategy
	// runs at once; nil where it runs alone.
	Parallel *ParallelJob

	TempDirectory string
	Proxy         *AgentProxy
	CAFile        string
	Debug         bool
}

// ParallelJob is one of several jobs of a phase. Position counts from 1.
type ParallelJob struct {
	Kind            string // MultiMachine of `parallel`, MultiConfiguration of `matrix`
	Position, Total int
}

// AgentProxy is the proxy that the agent was configured with.
type AgentProxy struct {
	URL                string
	Username, Password string
	Bypass             []string // regular expressions
}

// Endpoint is a service connection as an agent holds it. The system connection
// has no data.
type Endpoint struct {
	ID, URL, Scheme  string
	Parameters, Data map[string]string
}

// AgentEnvironment is the environment that an agent gives a task: public
// variables under their names and secrets under SECRET_, both listed by name;
// inputs; endpoints. Names are mapped as the agent maps them. The list is
// sorted, and holds nothing of the machine's own environment, such as PATH.
func AgentEnvironment(public, secret, inputs, env map[string]string, endpoints []Endpoint) []string {
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

// variableName is how a variable is called in the environment.
func variableName(name string) string {
	return strings.ToUpper(strings.NewReplacer(".", "_", " ", "_").Replace(name))
}

func compact(v any) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // nor does the agent
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("sim: environment: %v", err))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// environ joins what the service sets for the job with what the agent and the
// step add. Callers hold mu.
func (t Task) environ(job *jobToken, variables map[string]string) []string {
	o := job.project.org
	public := map[string]string{
		"system.culture": "en-US", "system.servertype": "Hosted", "system.collectionId": o.id,
		"system.collectionUri": o.Collection(), "system.teamFoundationCollectionUri": o.Collection(),
		"system.taskDefinitionsUri": o.Collection(), "system.teamProject": job.project.name, "system.teamProjectId": job.project.id,
		"system.planId": job.planID, "system.timelineId": job.planID, "system.jobId": job.jobID,
		"system.oidcRequestUri": job.requestURI(), "system.enableAccessToken": "SecretVariable",
		"system.debug": fmt.Sprint(t.Debug), "TF_BUILD": "True",
		"agent.id": "11", "agent.name": "Azure Pipelines 2", "agent.os": "Linux", "agent.osArchitecture": "X64",
		"agent.version": "4.248.0", "agent.jobstatus": "Succeeded", "agent.machineName": "agent",
		"agent.retainDefaultEncoding": "false",
	}
	maps.Copy(public, variables)
	public["system.parallelExecutionType"] = "None"
	if j := t.Parallel; j != nil {
		public["system.parallelExecutionType"] = j.Kind
		public["system.jobPositionInPhase"], public["system.totalJobsInPhase"] = fmt.Sprint(j.Position), fmt.Sprint(j.Total)
	}
	if t.TempDirectory != "" {
		public["agent.tempDirectory"] = t.TempDirectory
	}
	secret := map[string]string{"system.accessToken": job.value}
	if t.Proxy != nil {
		public["agent.proxyurl"] = t.Proxy.URL
		if t.Proxy.Username != "" {
			public["agent.proxyusername"] = t.Proxy.Username
			secret["agent.proxypassword"] = t.Proxy.Password
		}
		if len(t.Proxy.Bypass) > 0 {
			public["agent.proxybypasslist"] = compact(t.Proxy.Bypass)
		}
	}
	if t.CAFile != "" {
		public["agent.cainfo"] = t.CAFile
	}
	add := func(to, from map[string]string) {
		for name, value := range from {
			if !slices.ContainsFunc(slices.Collect(maps.Keys(to)), func(n string) bool { return strings.EqualFold(n, name) }) {
				to[name] = value
			}
		}
	}
	add(public, t.Variables)
	add(secret, t.Secrets)

	inputs := maps.Clone(t.Inputs)
	if inputs == nil {
		inputs = map[string]string{}
	}
	endpoints := []Endpoint{{ID: "SYSTEMVSSCONNECTION", URL: o.Collection(), Scheme: "OAuth",
		Parameters: map[string]string{"AccessToken": job.value}}}
	job.connections = nil
	for name, connections := range t.Connections {
		var ids []string
		for _, c := range connections {
			ids = append(ids, c.id)
			if !slices.Contains(job.connections, c.id) {
				job.connections = append(job.connections, c.id)
				endpoints = append(endpoints, c.endpoint())
			}
		}
		inputs[name] = strings.Join(ids, ",")
	}
	return AgentEnvironment(public, secret, inputs, t.Env, endpoints)
}

// Environ is the environment that an agent gives the task in this stage's job.
// From now on the organisation issues assertions to the job for the task's
// connections, and for no others.
func (s *Stage) Environ(t Task) []string {
	s.lock()
	defer s.unlock()
	r, a, p := s.run, s.newest(), s.phases[0]
	branch := r.options.Branch[strings.LastIndex(r.options.Branch, "/")+1:]
	return t.environ(a.token, map[string]string{
		"system": "build", "system.hosttype": "build",
		"system.definitionId": fmt.Sprint(r.pipeline), "system.definitionName": r.options.Pipeline,
		"system.stageId": s.recordID(a), "system.stageName": s.name, "system.stageDisplayName": s.name, "system.stageAttempt": fmt.Sprint(a.number),
		"system.phaseId": s.phaseID(a, p), "system.phaseName": p.name, "system.phaseDisplayName": p.name, "system.phaseAttempt": fmt.Sprint(a.number),
		"system.jobName": p.jobs[0], "system.jobDisplayName": p.name, "system.jobAttempt": fmt.Sprint(a.job),
		"system.jobIdentifier":      joined(s.name, p.name, p.jobs[0]),
		"system.jobPositionInPhase": "1", "system.totalJobsInPhase": fmt.Sprint(len(p.jobs)),
		"system.pipelineStartTime": r.started.UTC().Format("2006-01-02 15:04:05-07:00"),
		"build.buildId":            fmt.Sprint(r.id), "build.buildNumber": r.number(), "build.buildUri": fmt.Sprintf("vstfs:///Build/Build/%d", r.id),
		"build.definitionName": r.options.Pipeline, "build.definitionVersion": "3", "build.reason": title(r.options.Reason),
		"build.queuedBy": r.options.RequestedBy.DisplayName, "build.queuedById": r.options.RequestedBy.ID,
		"build.requestedFor": r.options.RequestedFor.DisplayName, "build.requestedForId": r.options.RequestedFor.ID,
		"build.requestedForEmail": r.options.RequestedFor.UniqueName,
		"build.sourceBranch":      r.options.Branch, "build.sourceBranchName": branch, "build.sourceVersion": r.options.Commit,
		"build.repository.id": r.repositoryID(), "build.repository.name": r.project.name,
		"build.repository.provider": "TfsGit", "build.repository.uri": r.project.org.Collection() + r.project.name + "/_git/" + r.project.name,
	})
}

func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
