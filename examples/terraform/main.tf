terraform {
  required_version = ">= 1.11" # write-only arguments
  required_providers {
    archive = { source = "hashicorp/archive", version = "~> 2.7" }
    aws     = { source = "hashicorp/aws", version = "~> 6.0" }
    random  = { source = "hashicorp/random", version = "~> 3.7" }
  }
}

data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

# An ephemeral password and a write-only argument: the state holds no value.
ephemeral "random_password" "database" {
  length  = 32
  special = false
}

resource "aws_secretsmanager_secret" "database" {
  name = "example/db"
}

resource "aws_secretsmanager_secret_version" "database" {
  secret_id                = aws_secretsmanager_secret.database.id
  secret_string_wo_version = 1 # count up to set a new password
  secret_string_wo = jsonencode({
    username = "app"
    password = ephemeral.random_password.database.result
    host     = "db.example.internal"
    port     = 5432
  })
}

# Printed by `lambda-secrets policy function/app.py:lambda_handler --format terraform`, made to fit any account.
data "aws_iam_policy_document" "lambda_secrets" {
  statement {
    sid     = "ReadSecrets"
    actions = ["secretsmanager:GetSecretValue"]
    resources = [
      "arn:${data.aws_partition.current.partition}:secretsmanager:${data.aws_region.current.region}:${data.aws_caller_identity.current.account_id}:secret:example/db-??????",
    ]
  }
}

data "aws_iam_policy_document" "assume" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "function" {
  name               = "lambda-secrets-example"
  assume_role_policy = data.aws_iam_policy_document.assume.json
}

resource "aws_iam_role_policy" "secrets" {
  role   = aws_iam_role.function.id
  policy = data.aws_iam_policy_document.lambda_secrets.json
}

resource "aws_iam_role_policy_attachment" "logs" {
  role       = aws_iam_role.function.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole"
}

# build.sh fills this folder. Its bytecode is hash-based: it stays valid although the archive changes file times.
data "archive_file" "package" {
  type        = "zip"
  source_dir  = "${path.module}/build"
  output_path = "${path.module}/package.zip"
}

resource "aws_lambda_function" "function" {
  function_name    = "lambda-secrets-example"
  role             = aws_iam_role.function.arn
  handler          = "app.lambda_handler"
  runtime          = "python3.13"
  architectures    = ["x86_64"]
  memory_size      = 256
  timeout          = 10
  filename         = data.archive_file.package.output_path
  source_code_hash = data.archive_file.package.output_base64sha256
}
