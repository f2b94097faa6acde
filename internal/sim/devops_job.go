package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// JobRequest is what the service hands the agent that is to run a job.
type JobRequest struct {
	Variables map[string]string // as the service names them: build.buildId
	Secrets   map[string]string
	Endpoints []Endpoint
}

// Endpoint is a service connection as an agent holds it. The system connection
// has no data.
type Endpoint struct {
	ID, URL, Scheme  string
	Parameters, Data map[string]string
}

// jobRequest adds what every job has to the variables of this one. Callers hold
// mu.
func (j *jobToken) jobRequest(variables map[string]string, connections []*ServiceConnection) JobRequest {
	o := j.project.org
	all := map[string]string{
		"system.culture": "en-US", "system.servertype": "Hosted", "system.collectionId": o.id,
		"system.collectionUri": o.Collection(), "system.teamFoundationCollectionUri": o.Collection(),
		"system.taskDefinitionsUri": o.Collection(), "system.teamProject": j.project.name, "system.teamProjectId": j.project.id,
		"system.planId": j.planID, "system.timelineId": j.planID, "system.jobId": j.jobID,
		"system.enableAccessToken": "SecretVariable", "system.parallelExecutionType": "None",
	}
	if o.runToken != RunTokenNoAddress {
		all["system.oidcRequestUri"] = j.requestURI()
	}
	if o.server != "" {
		all["system.servertype"] = "OnPremises"
	}
	maps.Copy(all, variables)
	endpoints := []Endpoint{{ID: "SYSTEMVSSCONNECTION", URL: o.systemURL(j.release != nil), Scheme: "OAuth",
		Parameters: map[string]string{"AccessToken": j.value}}}
	j.connections = nil
	for _, c := range connections {
		if !slices.Contains(j.connections, c.id) {
			j.connections = append(j.connections, c.id)
			endpoints = append(endpoints, c.endpoint())
		}
	}
	return JobRequest{Variables: all, Secrets: map[string]string{"system.accessToken": j.value}, Endpoints: endpoints}
}

// JobRequest hands this stage's job to an agent. From now on the organisation
// issues assertions to the job for these connections, and for no others.
func (s *Stage) JobRequest(connections ...*ServiceConnection) JobRequest {
	s.lock()
	defer s.unlock()
	r, a, p := s.run, s.newest(), s.phases[0]
	branch := r.options.Branch[strings.LastIndex(r.options.Branch, "/")+1:]
	return a.token.jobRequest(map[string]string{
		"system": "build", "system.hosttype": "build",
		"system.definitionId": fmt.Sprint(r.pipeline), "system.definitionName": r.options.Pipeline,
		"system.stageId": s.recordID(a), "system.stageName": s.name, "system.stageDisplayName": s.name, "system.stageAttempt": fmt.Sprint(a.number),
		"system.phaseId": s.phaseID(a, p), "system.phaseName": p.name, "system.phaseDisplayName": p.name, "system.phaseAttempt": fmt.Sprint(a.number),
		"system.jobName": p.jobs[0], "system.jobDisplayName": p.name, "system.jobAttempt": fmt.Sprint(a.job),
		"system.jobIdentifier":      joined(s.name, p.name, p.jobs[0]),
		"system.jobPositionInPhase": "1", "system.totalJobsInPhase": fmt.Sprint(len(p.jobs)),
		"system.pipelineStartTime": r.started.UTC().Format("2006-01-02 15:04:05-07:00"),
		"build.containerId":        fmt.Sprint(9000 + r.id),
		"build.buildId":            fmt.Sprint(r.id), "build.buildNumber": r.number(), "build.buildUri": fmt.Sprintf("vstfs:///Build/Build/%d", r.id),
		"build.definitionName": r.options.Pipeline, "build.definitionVersion": "3", "build.reason": title(r.options.Reason),
		"build.queuedBy": r.options.RequestedBy.DisplayName, "build.queuedById": r.options.RequestedBy.ID,
		"build.requestedFor": r.options.RequestedFor.DisplayName, "build.requestedForId": r.options.RequestedFor.ID,
		"build.requestedForEmail": r.options.RequestedFor.UniqueName,
		"build.sourceBranch":      r.options.Branch, "build.sourceBranchName": branch, "build.sourceVersion": r.options.Commit,
		"build.repository.id": r.repositoryID(), "build.repository.name": r.project.name,
		"build.repository.provider": "TfsGit", "build.repository.uri": r.project.org.Collection() + r.project.name + "/_git/" + r.project.name,
	}, connections)
}

func title(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
