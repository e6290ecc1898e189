variable "refs" {
  description = "What the grants name, by provider: the output refs of terraform/host. Only providers of Google Cloud count."
  type        = map(list(object({ grant = string, text = string, path = string, version = string })))
  nullable    = false
}

variable "stores" {
  description = "The key providers of quaymaster.yaml: which providers are of Google Cloud, whom they impersonate, and check_versions."
  type        = any
  default     = {}
  nullable    = false
}

variable "whole_projects" {
  description = "Projects in which a role may be given for many secrets at once, which wildcards need, with their numbers, as in { shop-prod = \"123456789012\" }: the role is bound to the project, with a condition on names, and there projects have numbers."
  type        = map(string)
  default     = {}
  nullable    = false
  validation {
    condition     = alltrue([for id, number in var.whole_projects : can(regex("^[0-9]{6,}$", number))])
    error_message = "whole_projects: give each project's number, as gcloud projects describe prints it; not so: ${join(", ", [for id, number in var.whole_projects : id if !can(regex("^[0-9]{6,}$", number))])}."
  }
}
