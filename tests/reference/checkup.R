# Numbers behind `fit.check()` and `fit.allfit()` from lme4 and performance; writes checkup.json (half a minute).
#     OPENBLAS_NUM_THREADS=1 Rscript tests/reference/checkup.R
suppressMessages({
  library(lme4)
  library(performance)
  library(jsonlite)
})

tight <- lmerControl(optimizer = "nloptwrap", optCtrl = list(xtol_abs = 1e-12, ftol_abs = 1e-12, maxeval = 1e5),
                     calc.derivs = FALSE)
models <- list(
  list(id = "sleepstudy", dataset = "sleepstudy", formula = "Reaction ~ Days + (Days | Subject)", group = "Subject"),
  list(id = "Machines", dataset = "Machines", formula = "score ~ Machine + (1 | Worker)", group = "Worker"),
  list(id = "Penicillin", dataset = "Penicillin", formula = "diameter ~ 1 + (1 | plate) + (1 | sample)", group = "plate")
)

numbers <- function(record, data) {
  fit <- lmer(as.formula(record$formula), data, control = tight)
  h <- hatvalues(fit)
  e <- residuals(fit, type = "pearson") / sigma(fit) / sqrt(1 - h)
  n <- length(e)
  d <- e - mean(e)
  group <- data[[record$group]]
  spread <- anova(lm(abs(e) ~ group))
  counts <- table(group)
  usual <- (n - sum(counts^2) / n) / (length(counts) - 1)
  order_in_group <- order(as.integer(group), seq_len(n))
  g <- as.integer(group)[order_in_group]
  s <- e[order_in_group]
  same <- g[-1] == g[-n]
  third <- quantile(fitted(fit), c(1, 2) / 3, type = 7)
  list(
    singular = isSingular(fit),
    rePCA = lapply(rePCA(fit), function(term) term$sdev),
    skewness = mean(d^3) / mean(d^2)^1.5,
    kurtosis = mean(d^4) / mean(d^2)^2 - 3,
    quantiles = cor(sort(e), qnorm((seq_len(n) - 0.375) / (n + 0.25))),
    thirds = mean(abs(e)[fitted(fit) >= third[2]]) / mean(abs(e)[fitted(fit) <= third[1]]),
    levels = sqrt(max(spread$`Mean Sq`[1] - spread$`Mean Sq`[2], 0) / usual) / mean(abs(e)),
    largest = max(abs(e)),
    neighbours = mean(s[-n][same] * s[-1][same]) / mean(e^2)
  )
}

collinear <- function() {
  cake <- lme4::cake
  fit <- lmer(angle ~ recipe * temp + (1 | recipe:replicate), cake, control = tight)
  performance::check_collinearity(fit)$VIF
}

agreement <- function(formula, data) {
  fit <- lmer(as.formula(formula), data)
  all <- suppressWarnings(suppressMessages(allFit(fit, verbose = FALSE)))
  list(deviance = -2 * as.numeric(summary(all)$llik), optimizer = names(summary(all)$llik))
}

load_data <- function(name) if (name == "Machines") nlme::Machines else get(name, envir = asNamespace("lme4"))
output <- list(
  versions = lapply(c(lme4 = "lme4", performance = "performance"), function(x) as.character(packageVersion(x))),
  models = lapply(models, function(record) c(record, numbers(record, as.data.frame(load_data(record$dataset))))),
  vif = collinear(),
  allfit = list(
    sleepstudy = agreement("Reaction ~ Days + (Days | Subject)", sleepstudy),
    Machines = agreement("score ~ Machine + (Machine | Worker)", as.data.frame(nlme::Machines))
  )
)
write_json(output, "tests/reference/checkup.json", digits = NA, auto_unbox = TRUE, pretty = TRUE)
