package awssim

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strings"
)

type secretRequest struct {
	SecretID     string `json:"SecretId"`
	VersionID    string `json:"VersionId"`
	VersionStage string
}

// secretValue is what GetSecretValue answers, and one of the values of
// BatchGetSecretValue.
type secretValue struct {
	ARN           string
	Name          string
	VersionID     string  `json:"VersionId"`
	SecretString  *string `json:",omitempty"`
	SecretBinary  *string `json:",omitempty"`
	VersionStages []string
	CreatedDate   float64
}

func (s *SecretsManager) getSecretValue(caller issued, body []byte) (any, error) {
	request, err := read[secretRequest](body)
	if err != nil {
		return nil, err
	}
	return s.value(caller, request)
}

// value is one version of one secret, for a caller who may have it.
func (s *SecretsManager) value(caller issued, request secretRequest) (secretValue, error) {
	secret, err := s.find(caller, "secretsmanager:GetSecretValue", request.SecretID)
	if err != nil {
		return secretValue{}, err
	}
	if secret.deleted {
		return secretValue{}, badRequest("InvalidRequestException",
			"You can't perform this operation on the secret because it was marked for deletion.")
	}
	id, version, err := secret.version(request)
	if err != nil {
		return secretValue{}, err
	}
	if secret.key != "" && s.permissions.check(caller, "kms:Decrypt", secret.key, s.via()) != nil {
		return secretValue{}, badRequest("AccessDeniedException", "Access to KMS is not allowed")
	}
	value := secretValue{ARN: secret.arn, Name: secret.name, VersionID: id, VersionStages: secret.stagesOf(id),
		CreatedDate: float64(version.created.UnixMilli()) / 1000}
	if version.binary != nil {
		text := base64.StdEncoding.EncodeToString(version.binary)
		value.SecretBinary = &text
	} else {
		value.SecretString = &version.text
	}
	return value, nil
}

// find is the secret that a caller names. Who may not read it does not learn
// whether it exists.
func (s *SecretsManager) find(caller issued, action, id string) (storedSecret, error) {
	s.mu.Lock()
	visible := s.secrets
	if s.seen != nil {
		visible = s.seen
	}
	arn := s.arnOf(visible, id)
	secret, found := visible[arn]
	s.mu.Unlock()
	if err := s.permissions.check(caller, action, arn, nil); err != nil {
		return storedSecret{}, err
	}
	if !found {
		return storedSecret{}, badRequest("ResourceNotFoundException", "Secrets Manager can't find the specified secret.")
	}
	foreign := !strings.Contains(arn, ":"+s.account.id+":")
	if foreign && !slices.Contains(secret.shared, caller.entity.arn) {
		return storedSecret{}, badRequest("AccessDeniedException", "User: %s is not authorized to perform: %s on resource: %s "+
			"because no resource-based policy allows the %s action", caller.arn, action, arn, action)
	}
	return secret, nil
}

// version finds what a request asks for; a stage and an ID must agree.
func (secret storedSecret) version(request secretRequest) (string, secretVersion, error) {
	id, stage := request.VersionID, request.VersionStage
	if id != "" && (len(id) < 32 || len(id) > 64) {
		return "", secretVersion{}, badRequest("InvalidParameterException", "Invalid VersionId.")
	}
	if id == "" {
		if stage == "" {
			stage = StageCurrent
		}
		id = secret.stages[stage]
	}
	version, found := secret.versions[id]
	switch {
	case !found && request.VersionID != "":
		return "", version, badRequest("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for VersionId: %s", id)
	case !found || (stage != "" && secret.stages[stage] != id):
		return "", version, badRequest("ResourceNotFoundException", "Secrets Manager can't find the specified secret value for staging label: %s", stage)
	}
	return id, version, nil
}

func (secret storedSecret) stagesOf(id string) []string {
	stages := []string{}
	for stage, version := range secret.stages {
		if version == id {
			stages = append(stages, stage)
		}
	}
	slices.Sort(stages)
	return stages
}

type batchError struct {
	SecretID  string `json:"SecretId"`
	ErrorCode string
	Message   string
}

func (s *SecretsManager) batchGetSecretValue(caller issued, body []byte) (any, error) {
	request, err := read[struct {
		SecretIDList []string `json:"SecretIdList"`
	}](body)
	if err != nil {
		return nil, err
	}
	if err := s.permissions.check(caller, "secretsmanager:BatchGetSecretValue", "*", nil); err != nil {
		return nil, err
	}
	if n := len(request.SecretIDList); n < 1 || n > 20 {
		return nil, &refusal{http.StatusBadRequest, "InvalidParameterException", "SecretIdList must have 1 to 20 members."}
	}
	values, failed := []secretValue{}, []batchError{}
	for _, id := range request.SecretIDList {
		value, err := s.value(caller, secretRequest{SecretID: id})
		if err != nil {
			refused := err.(*refusal) // value returns no other
			failed = append(failed, batchError{SecretID: id, ErrorCode: refused.code, Message: refused.message})
			continue
		}
		values = append(values, value)
	}
	slices.Reverse(values) // the order is nobody's to rely on
	return struct {
		SecretValues []secretValue
		Errors       []batchError
	}{values, failed}, nil
}

func (s *SecretsManager) describeSecret(caller issued, body []byte) (any, error) {
	request, err := read[secretRequest](body)
	if err != nil {
		return nil, err
	}
	secret, err := s.find(caller, "secretsmanager:DescribeSecret", request.SecretID)
	if err != nil {
		return nil, err
	}
	stages := map[string][]string{}
	for id := range secret.versions {
		if has := secret.stagesOf(id); len(has) > 0 { // versions without a label are deprecated, and left out
			stages[id] = has
		}
	}
	described := map[string]any{"ARN": secret.arn, "Name": secret.name, "VersionIdsToStages": stages}
	if secret.deleted {
		described["DeletedDate"] = float64(s.account.env.Now().Unix())
	}
	return described, nil
}
