variable "vault_address" {
  description = "Where hosts find Vault, and Terraform too."
  type        = string
}

variable "vault_ca_pem" {
  description = "The authority of Vault's certificate; null: one that the image trusts."
  type        = string
  default     = null
}

variable "project" {
  description = "The project of the hosts and of their secrets."
  type        = string
}

variable "region" {
  description = "Where the hosts run."
  type        = string
  default     = "europe-west3"
}

variable "image" {
  description = "An image that packaging/image made, or its family."
  type        = string
}

variable "network" {
  description = "The hosts' network."
  type        = string
}

variable "subnetwork" {
  description = "A subnetwork of it, with a way to Vault and to Google's APIs."
  type        = string
}
