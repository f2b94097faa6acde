package sim

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
)

// The names, types and enumerations of documents, as version 7.2 of the published
// descriptions has them (MicrosoftDocs/vsts-rest-api-specs). A type is the name of
// another document, a list of allowed values (a|b), or one of uuid, time, string,
// integer, number, boolean and any; [] before it is a list, {} a map.
//
//go:embed devops_schema.json
var schemaText []byte

var schema = func() map[string]map[string]string {
	var s map[string]map[string]string
	if err := json.Unmarshal(schemaText, &s); err != nil {
		panic(fmt.Sprintf("sim: the schema of Azure DevOps: %v", err))
	}
	// What the descriptions leave out, and real responses have.
	for name, fields := range map[string]map[string]string{
		// azure-devops-go-api, packages azuredevops and location.
		"Location": {"id": "uuid", "area": "string", "resourceName": "string", "routeTemplate": "string",
			"resourceVersion": "integer", "minVersion": "string", "maxVersion": "string", "releasedVersion": "string"},
		"Area": {"id": "uuid", "name": "string", "locationUrl": "string"},
		// The description has the settings of each type of check apart.
		"CheckConfiguration": {"settings": "any"},
		"NewRetentionLease":  {"daysValid": "integer", "definitionId": "integer", "ownerId": "string", "protectPipeline": "boolean", "runId": "integer"},
		// azure-devops-go-api, package serviceendpoint.
		"ServiceEndpoint": {"administratorsGroup": "IdentityRef", "authorization": "EndpointAuthorization", "createdBy": "IdentityRef", "data": "{}string",
			"description": "string", "groupScopeId": "uuid", "id": "uuid", "isReady": "boolean", "isShared": "boolean", "name": "string", "operationStatus": "any",
			"owner": "string", "readersGroup": "IdentityRef", "serviceEndpointProjectReferences": "[]ServiceEndpointProjectReference", "type": "string", "url": "string"},
		"EndpointAuthorization":           {"parameters": "{}string", "scheme": "string"},
		"ServiceEndpointProjectReference": {"description": "string", "name": "string", "projectReference": "ProjectReference"},
		"ProjectReference":                {"id": "uuid", "name": "string"},
		// What doctor reads: the descriptions of approvalsAndChecks, securityRoles, security, git
		// and distributedTask.
		"ResourcePipelinePermissions": {"allPipelines": "Permission", "pipelines": "[]PipelinePermission", "resource": "Resource"},
		"Permission":                  {"authorized": "boolean", "authorizedBy": "IdentityRef", "authorizedOn": "time"},
		"PipelinePermission":          {"authorized": "boolean", "authorizedBy": "IdentityRef", "authorizedOn": "time", "id": "integer"},
		"RoleAssignment":              {"access": "assigned|inherited", "accessDisplayName": "string", "identity": "IdentityRef", "role": "SecurityRole"},
		"SecurityRole": {"allowPermissions": "integer", "denyPermissions": "integer", "description": "string", "displayName": "string",
			"identifier": "string", "name": "string", "scope": "string"},
		"TaskAgentQueue": {"id": "integer", "name": "string", "pool": "TaskAgentPoolReference", "projectId": "uuid"},
		"PolicyConfiguration": {"_links": "any", "createdBy": "IdentityRef", "createdDate": "time", "id": "integer", "isBlocking": "boolean", "isDeleted": "boolean",
			"isEnabled": "boolean", "isEnterpriseManaged": "boolean", "revision": "integer", "settings": "any", "type": "PolicyTypeRef", "url": "string"},
		"PolicyTypeRef": {"displayName": "string", "id": "uuid", "url": "string"},
		"GitRepository": {"_links": "any", "creationDate": "time", "defaultBranch": "string", "id": "uuid", "isDisabled": "boolean", "isFork": "boolean",
			"isInMaintenance": "boolean", "name": "string", "project": "TeamProjectReference", "remoteUrl": "string", "size": "integer", "sshUrl": "string",
			"url": "string", "validRemoteUrls": "[]string", "webUrl": "string"},
		"AccessControlList":      {"acesDictionary": "{}AccessControlEntry", "includeExtendedInfo": "boolean", "inheritPermissions": "boolean", "token": "string"},
		"AccessControlEntry":     {"allow": "integer", "deny": "integer", "descriptor": "string", "extendedInfo": "AceExtendedInformation"},
		"AceExtendedInformation": {"effectiveAllow": "integer", "effectiveDeny": "integer", "inheritedAllow": "integer", "inheritedDeny": "integer"},
		// Seen in public timelines.
		"TimelineRecord": {"resultCode": "string"},
		// Seen in public records of builds.
		"Build":                  {"appendCommitMessageToRunName": "boolean"},
		"AgentPoolQueue":         {"pool": "TaskAgentPoolReference"},
		"TaskAgentPoolReference": {"isLegacy": "boolean", "options": "string", "poolType": "automation|deployment", "scope": "uuid", "size": "integer"},
		"DefinitionReference":    {"drafts": "[]any"},
		// The published examples of releases and the models of azure-devops-go-api have
		// these, the description does not.
		"Release":            {"url": "string"},
		"Artifact":           {"sourceId": "string"},
		"ReleaseApproval":    {"isNotificationOn": "boolean", "trialNumber": "integer"},
		"ReleaseEnvironment": {"demands": "[]any", "workflowTasks": "[]any"},
		"EnvironmentOptions": {"emailNotificationType": "string", "emailRecipients": "string", "enableAccessToken": "boolean",
			"skipArtifactsDownload": "boolean", "timeoutInMinutes": "integer"},
		"DeploymentAttempt":  {"runPlanId": "uuid", "tasks": "[]ReleaseTask"},
		"ReleaseDeployPhase": {"id": "integer"},
		"ReleaseTask":        {"dateStarted": "time", "dateEnded": "time"},
	} {
		if s[name] == nil {
			s[name] = map[string]string{}
		}
		maps.Copy(s[name], fields)
	}
	return s
}()

// deviations lists where a document differs from its published description. A
// type with [] before it is in the envelope of lists.
func deviations(kind string, document any) []string {
	b, err := json.Marshal(document)
	var decoded any
	if err == nil {
		err = json.Unmarshal(b, &decoded)
	}
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", kind, err)}
	}
	var found []string
	report := func(at, why string) { found = append(found, at+" "+why) }
	if item, list := strings.CutPrefix(kind, "[]"); list {
		envelope, _ := decoded.(map[string]any)
		values, ok := envelope["value"].([]any)
		if !ok || envelope["count"] != float64(len(values)) || len(envelope) != 2 {
			report(kind, "is not a list with its count")
		}
		for _, v := range values {
			compare(item, item, v, report)
		}
		return found
	}
	compare(kind, kind, decoded, report)
	return found
}

func compare(at, kind string, value any, report func(at, why string)) {
	if value == nil || kind == "any" {
		return
	}
	if item, ok := strings.CutPrefix(kind, "[]"); ok {
		list, ok := value.([]any)
		if !ok {
			report(at, "is not a list")
		}
		for _, v := range list {
			compare(at, item, v, report)
		}
		return
	}
	if fields, ok := schema[kind]; ok || strings.HasPrefix(kind, "{}") {
		object, isObject := value.(map[string]any)
		if !isObject {
			report(at, "is not an object")
		}
		for _, name := range slices.Sorted(maps.Keys(object)) {
			field := fields[name]
			if !ok {
				field = kind[len("{}"):]
			}
			if field == "" {
				report(at+"."+name, "is not a name of "+kind)
				continue
			}
			compare(at+"."+name, field, object[name], report)
		}
		return
	}
	if !matches(kind, value) {
		report(at, fmt.Sprintf("is %v, not %s", value, kind))
	}
}

func matches(kind string, value any) bool {
	text, isText := value.(string)
	number, isNumber := value.(float64)
	switch kind {
	case "string":
		return isText
	case "integer":
		return isNumber && number == math.Trunc(number)
	case "number":
		return isNumber
	case "boolean":
		_, ok := value.(bool)
		return ok
	case "uuid":
		return isText && len(text) == 36 && strings.Count(text, "-") == 4
	case "time":
		_, err := time.Parse(time.RFC3339Nano, text)
		return err == nil || text == noTime
	}
	// The published examples begin some values of releases with a capital letter.
	return isText && slices.ContainsFunc(strings.Split(kind, "|"), func(s string) bool { return strings.EqualFold(s, text) })
}

// verify notes where a document differs from its published description.
func (o *Organization) verify(kind string, document any) {
	found := deviations(kind, document)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, d := range found {
		if !slices.Contains(o.deviating, d) {
			o.deviating = append(o.deviating, d)
		}
	}
}

// Deviations lists where the documents that were sent differ from their published
// descriptions, before a test changed them.
func (o *Organization) Deviations() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.deviating)
}
