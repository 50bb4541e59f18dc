"""
In a scikit-learn pipeline
==========================

`fastbp.estimators` has the classes of `sklearn.neural_network` with the same parameters. Rows are examples here.
"""

# %%
from sklearn.datasets import load_wine
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp
from fastbp.estimators import MLPClassifier

X, y = load_wine(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0, stratify=y)
classifier = MLPClassifier((20,), learning_rate_init=0.01, max_iter=400, random_state=0)
pipeline = make_pipeline(StandardScaler(), classifier)
search = GridSearchCV(pipeline, {"mlpclassifier__alpha": [1e-4, 1e-1, 1.0]}, cv=3)
search.fit(X_train, y_train)
print(search.best_params_, f"{search.score(X_test, y_test):.1%} of the test examples")

# %%
# The plots take any predictions.
fastbp.plots.confusion_matrix(y_test, search.predict(X_test), load_wine().target_names)
