variable "vault_address" {
  description = "Where hosts find Vault, and Terraform too."
  type        = string
}

variable "vault_ca_pem" {
  description = "The authority of Vault's certificate; null: one that the image trusts."
  type        = string
  default     = null
}

variable "resource_group_name" {
  description = "The resource group of the hosts."
  type        = string
}

variable "location" {
  description = "Where the hosts run."
  type        = string
  default     = "westeurope"
}

variable "image_id" {
  description = "An image that packaging/image made."
  type        = string
}

variable "subnet_id" {
  description = "A subnet with a way to Vault and to Azure's APIs, whose security group lets nothing in."
  type        = string
}

variable "key_vault_id" {
  description = "The Key Vault shop-kv, with roles as its permission model."
  type        = string
}

variable "operator_public_key" {
  description = "The SSH key that Azure wants for every machine."
  type        = string
}
