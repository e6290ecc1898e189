variable "region" {
  description = "Where the hosts run."
  type        = string
  default     = "eu-west-1"
}

variable "vault_address" {
  description = "Where hosts find Vault, and Terraform too."
  type        = string
}

variable "vault_ca_pem" {
  description = "The authority of Vault's certificate; null: one that the image trusts."
  type        = string
  default     = null
}

variable "ami_id" {
  description = "An image that packaging/image made."
  type        = string
}

variable "vpc_id" {
  description = "The hosts' network."
  type        = string
}

variable "subnet_ids" {
  description = "Private subnets of it, with a way to Vault and to AWS's APIs."
  type        = list(string)
}
