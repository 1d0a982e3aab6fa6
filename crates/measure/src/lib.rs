//! Predictors: which number will the hardware report?.
